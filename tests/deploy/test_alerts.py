"""The alert rules are ones that Prometheus takes, of metrics that the service has."""

import re
from typing import Any

import promql_parser
import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.promql import Sample, find_faults, list_result_labels

FILE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in FILE["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
EXPECTED = [
    *("ModelyardDown", "ModelyardNoReadyModel", "ModelyardVersionRefused", "ModelyardFaults", "ModelyardModelFails"),
    *("ModelyardOverCapacity", "ModelyardSlow", "ModelyardWorkerRestarts", "ModelyardFewFilesLeft"),
    *("ModelyardDrift", "ModelyardAuditLost"),
]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_names_metrics_and_labels_that_the_service_has(rule: dict[str, Any], samples: list[Sample]) -> None:
    assert find_faults(rule["expr"], samples) == []
    texts = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= list_result_labels(rule["expr"], samples)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_has_what_prometheus_takes_and_an_operator_needs(rule: dict[str, Any]) -> None:
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    if "for" in rule:
        assert promql_parser.parse_duration(rule["for"]).total_seconds() >= 60
    # Names such as http_requests_total are other services' too.
    assert len(re.findall(r"\w+\{", rule["expr"])) == len(re.findall(r'\w+\{job="modelyard"', rule["expr"]))


def test_there_is_a_rule_for_everything_that_an_operator_has_to_know() -> None:
    assert FILE.keys() == {"groups"}
    assert [group["name"] for group in FILE["groups"]] == ["modelyard"]
    assert EXPECTED == NAMES
