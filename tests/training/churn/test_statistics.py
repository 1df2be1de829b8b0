"""Statistics: what a version has seen is counted right, and can be measured anew."""

import math
import shutil
from pathlib import Path

import pytest

from models.columns import TablePreprocessing
from models.features import Feature
from models.manifest import load_manifest, save_manifest
from tests.training.churn.customers import write_customers
from training.churn.train import RECIPES, Config, run
from training.command import Places, build_config
from training.errors import DataError, SettingError
from training.statistics import MAX_CATEGORIES, describe_numbers, describe_texts, describe_values, main, remeasure
from training.table import load_table

SMALL = {"hidden": 4, "members": 1, "epochs": 1, "folds": 2, "repeats": 1, "baselines": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_customers(tmp_path_factory.mktemp("data") / "customers.csv")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a small training."""
    folder = tmp_path_factory.mktemp("trained")
    config = build_config(Config, RECIPES, {"data": str(data), "target": "Exited", **SMALL})
    run(config, Places(models=folder / "models", cache=folder / "cache", output=folder / "run"), resume=False)
    return folder / "models" / "churn" / "1"


@pytest.fixture
def version(trained: Path, tmp_path: Path) -> Path:
    """That version, as it would be without statistics."""
    folder = tmp_path / "churn" / "1"
    shutil.copytree(trained, folder)
    save_manifest(folder, load_manifest(folder).model_copy(update={"statistics": None}))
    return folder


def test_numbers_are_in_bins_of_as_many_rows_each() -> None:
    values = [float(number) for number in range(1, 101)] * 2
    found = describe_values(Feature("age", is_numeric=True), values)
    assert found.type == "numeric"
    assert found.edges == tuple(range(10, 100, 10))
    assert found.shares == (0.1,) * 10
    assert found.missing == 0


def test_a_value_that_most_rows_have_is_one_bin() -> None:
    found = describe_values(Feature("unknown_share", is_numeric=True), [0.0] * 97 + [0.1, 0.2, 0.3])
    assert found.type == "numeric"
    assert (found.edges, found.shares) == ((0.0,), (0.97, 0.03))


def test_missing_values_are_a_share_of_their_own() -> None:
    charge = Feature("charge", is_numeric=True)
    found = describe_values(charge, [math.nan, 1.0, math.nan, 1.0])
    assert found.type == "numeric"
    assert (found.edges, found.shares, found.missing) == ((1.0,), (0.5, 0.0), 0.5)
    assert describe_values(charge, [math.nan] * 2).shares == (0.0,)
    assert describe_numbers("probability", [0.05, 0.5, 0.95], [0.5]).shares == pytest.approx((2 / 3, 1 / 3), abs=1e-6)
    texts = describe_texts("plan", ["yearly", "", "monthly", "yearly"])
    assert (texts.categories, texts.shares, texts.other, texts.missing) == (("yearly", "monthly"), (0.5, 0.25), 0, 0.25)


def test_rare_categories_are_others() -> None:
    found = describe_texts("city", [f"city {number}" for number in range(50)] + ["Oslo", "Oslo"])
    assert len(found.categories) == MAX_CATEGORIES
    assert found.categories[0] == "Oslo"
    assert found.other == pytest.approx(31 / 52, abs=1e-6)


def test_a_training_says_what_it_has_seen(trained: Path, data: Path) -> None:
    manifest, table = load_manifest(trained), load_table(str(data), data.parent, "Exited")
    statistics = manifest.statistics
    assert statistics is not None
    assert (statistics.input_rows, statistics.prediction_rows) == (400, 400)
    assert isinstance(manifest.preprocessing, TablePreprocessing)
    found = {each.name: each for each in statistics.inputs}
    assert set(found) == {column.name for column in manifest.preprocessing.columns}
    place = [column.name for column in manifest.preprocessing.text_columns].index("Plan")
    monthly = float((table.texts[:, place] == "monthly").mean())
    plan = found["Plan"]
    assert plan.type == "categorical"
    assert plan.shares[plan.categories.index("monthly")] == pytest.approx(monthly, abs=1e-6)
    assert found["Price"].missing > 0.05
    assert [each.name for each in statistics.predictions] == ["label", "probability"]


def test_a_version_without_statistics_gets_those_that_training_gives_it(
    version: Path, trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copy(data, tmp_path / "customers.csv")
    assert main([str(version), "--data", str(moved)]) == 0
    assert "400 rows, 400 predictions" in capsys.readouterr().out
    assert (version / "manifest.json").read_bytes() == (trained / "manifest.json").read_bytes()
    assert {path.name for path in version.parent.iterdir()} == {"1"}


def test_other_data_gives_no_statistics(version: Path, tmp_path: Path) -> None:
    other = write_customers(tmp_path / "other.csv", seed=1)
    before = (version / "manifest.json").read_bytes()
    with pytest.raises(DataError, match=r"data: sha256 of '.*other.csv' is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        remeasure(version, str(other), tmp_path)
    assert (version / "manifest.json").read_bytes() == before


def test_a_setting_that_there_is_no_more_is_named(version: Path) -> None:
    manifest = load_manifest(version)
    provenance = manifest.provenance.model_copy(update={"settings": {"horses": 4}})
    save_manifest(version, manifest.model_copy(update={"provenance": provenance}))
    with pytest.raises(SettingError, match="horses: churn has no such setting any more"):
        remeasure(version, None, version)


def test_what_is_no_version_is_one_line_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
