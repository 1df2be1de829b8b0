"""The dashboard is one that Grafana can show, of metrics that the service has."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from tests.conftest import ROOT
from tests.deploy.promql import Sample, find_faults, list_result_labels

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "dashboard.json").read_text(encoding="utf-8"))
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
GRID_WIDTH = 24
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
UNITS = {"none", "reqps", "ops", "percentunit", "s", "µs", "bytes"}


class Target(NamedTuple):
    """One query of a panel, with Grafana's own interval in place."""

    panel: str
    expression: str
    legend: str


TARGETS = [
    Target(panel["title"], target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
]


def tiles(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """The squares of the grid that a panel covers."""
    place = panel["gridPos"]
    columns = range(place["x"], place["x"] + place["w"])
    return set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))


def unique(values: Sequence[object]) -> bool:
    return len(set(values)) == len(values)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.panel)
def test_a_query_names_metrics_and_labels_that_the_service_has(target: Target, samples: list[Sample]) -> None:
    assert find_faults(target.expression, samples) == []
    assert set(re.findall(r"{{(\w+)}}", target.legend)) <= list_result_labels(target.expression, samples) | {"le"}


def test_the_variables_offer_labels_that_the_service_has(samples: list[Sample]) -> None:
    assert list(VARIABLES) == ["datasource", "job", "instance", "kind"]
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            assert variable["datasource"] == SOURCE
            match = LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert match is not None
            assert find_faults(match[1], samples) == []
            assert match[2] in list_result_labels(match[1], samples)


def test_the_queries_use_the_variables_that_there_are_and_no_others() -> None:
    used = {name for target in TARGETS for name in re.findall(r"\$(\w+)", target.expression)}
    assert used == set(VARIABLES) - {"datasource"}
    for target in TARGETS:
        # Whoever has several instances chooses among them, in every panel.
        assert len(re.findall(r'\bjob=~"\$job",instance=~"\$instance"', target.expression)) >= 1
    assert VARIABLES["datasource"]["type"] == "datasource"


def test_every_panel_has_what_grafana_asks_for() -> None:
    assert unique([panel["id"] for panel in DASHBOARD["panels"]])
    assert unique([panel["title"] for panel in DASHBOARD["panels"]])
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat", "table", "heatmap")
        assert panel["datasource"] == SOURCE
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert {"defaults", "overrides"} == panel["fieldConfig"].keys()
        assert panel["fieldConfig"]["defaults"].get("unit", "none") in UNITS
        assert unique([target["refId"] for target in panel["targets"]])
        assert all(target["datasource"] == SOURCE for target in panel["targets"])


def test_the_panels_lie_side_by_side() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert not covered & tiles(panel), panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= GRID_WIDTH
        covered |= tiles(panel)


def test_the_dashboard_can_be_imported_and_provisioned() -> None:
    assert DASHBOARD["uid"] == "modelyard"
    assert DASHBOARD["title"] == "Modelyard"
    assert isinstance(DASHBOARD["schemaVersion"], int)
    assert "id" not in DASHBOARD  # the number that one Grafana gave it would be another's in the next
    assert {required["type"] for required in DASHBOARD["__requires"]} == {"grafana", "datasource"}
