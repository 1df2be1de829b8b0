import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from models.columns import TablePreprocessing, read_value
from models.manifest import GRAPH_FILE, Manifest, load_golden
from models.repository import Repository
from tests.training.profile_generator.tables import PRICES, write_subscriptions
from training.__main__ import main
from training.checkpoint import CHECKPOINT_FILE
from training.command import Places, build_config
from training.errors import DataError, DivergenceError, SettingError
from training.noise import draw_noise
from training.profile_generator.data import ProfileData, load_profiles
from training.profile_generator.encoding import build_encoding
from training.profile_generator.publish import Learnt, build_served, check_rows, export_decoder
from training.profile_generator.rules import find_rules, forbidden_pairs
from training.profile_generator.sampling import Sampler, draw_targets, write_profiles
from training.profile_generator.train import RECIPES, Config, State, build_rows, restore, run, save, start, train

ROWS = 2000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_subscriptions(tmp_path_factory.mktemp("data") / "subscriptions.csv")


@pytest.fixture(scope="module")
def models(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.profile_generator.evaluate.RULE_ROWS", 20_000)
        run(config(table, epochs=12), Places(folder / "models", folder / "cache", folder / "run"), resume=False)
    return folder / "models"


@pytest.fixture(scope="module")
def manifest(models: Path) -> Manifest:
    return Repository(models).load("profile_generator", 1)


@pytest.fixture(scope="module")
def columns(manifest: Manifest) -> TablePreprocessing:
    assert isinstance(manifest.preprocessing, TablePreprocessing)
    return manifest.preprocessing


@pytest.fixture(scope="module")
def sampler(models: Path, columns: TablePreprocessing) -> Sampler:
    return Sampler(models / "profile_generator" / "1" / GRAPH_FILE, columns)


@pytest.fixture(scope="module")
def profiles(sampler: Sampler, columns: TablePreprocessing) -> list[dict[str, Any]]:
    found: list[Any] = write_profiles(columns, *sampler.sample(3, ROWS))
    return found


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(models=tmp_path / "models", cache=tmp_path / "cache", output=tmp_path / "run")


def config(table: Path, **given: object) -> Config:
    small = {"data": str(table), "target": "cancelled", "epochs": 4, "batch_size": 50, "width": 24, "bins": 12}
    return build_config(Config, RECIPES, {**small, **given})


def load(settings: Config, places: Places) -> ProfileData:
    return load_profiles(
        settings.data,
        places.cache,
        settings.target,
        categorical=(),
        drop=(),
        max_rows=0,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )


def train_alone(settings: Config, places: Places, *, resume: bool = False) -> State:
    """Train without publishing."""
    accelerator = Accelerator()
    torch.manual_seed(settings.seed)
    data = load(settings, places)
    encoding = build_encoding(data.train, settings.bins)
    pairs = forbidden_pairs(find_rules(encoding, data.train), (2, *encoding.sizes))
    state = start(settings, encoding, accelerator)
    if resume:
        restore(state, settings, places.output / CHECKPOINT_FILE)
    rows, validation = (build_rows(encoding, pairs, part) for part in (data.train, data.validation))
    train(settings, state, rows, validation, accelerator, places.output)
    return state


def test_a_training_adds_a_version_that_says_what_was_measured(manifest: Manifest) -> None:
    metrics: Any = manifest.metrics
    assert next(iter(metrics)) == "quality"
    assert metrics["quality"] > 0.85
    assert metrics["rows_that_break_a_rule"] == 0
    assert metrics["exact_copies_in_rows_checked"] == 0
    assert 0.4 < metrics["closer_to_training_share"] < 0.6
    assert metrics["relations"]["total"]["follows_from"] == "months x price"
    assert metrics["relations"]["price"]["follows_from"] == "the sum over categories"
    assert {output.name: output.dtype for output in manifest.outputs} == {"numbers": "float32", "texts": "string"}
    assert (manifest.provenance.data.train_examples, manifest.provenance.data.test_examples) == (360, 200)


def test_the_card_lists_the_rules_and_what_is_not_guaranteed(models: Path) -> None:
    card = (models / "profile_generator" / "1" / "card.md").read_text(encoding="utf-8")
    assert "- plan = 'basic': support = 'none'" in card
    assert "- months = 0: total = missing" in card
    assert "There is no differential privacy" in card


def test_generated_profiles_are_valid_rows_of_the_table(
    profiles: list[dict[str, Any]], columns: TablePreprocessing
) -> None:
    assert list(profiles[0]) == [column.name for column in (*columns.columns, columns.target)]
    for profile in profiles:
        for column in (*columns.columns, columns.target):
            value = read_value(column, profile[column.name])
            if column.is_numeric and profile[column.name] is not None:
                assert column.minimum is not None
                assert column.maximum is not None
                assert column.minimum <= float(value) <= column.maximum
        assert date(2020, 1, 1) <= date.fromisoformat(profile["since"])
        assert profile["months"] == int(profile["months"])
        assert round(profile["price"] * 20) == pytest.approx(profile["price"] * 20)


def test_generated_profiles_keep_the_rules_of_the_table(
    profiles: list[dict[str, Any]], columns: TablePreprocessing
) -> None:
    (column,) = [column for column in columns.columns if column.name == "total"]
    for profile in profiles:
        assert (profile["plan"] == "basic") == (profile["support"] == "none")
        assert (profile["months"] == 0) == (profile["total"] is None)
        assert abs(profile["price"] - PRICES[profile["plan"]]) < 1.5
        if profile["months"] and column.minimum != profile["total"] != column.maximum:
            assert profile["total"] == pytest.approx(profile["months"] * profile["price"], rel=0.05, abs=0.5)


def test_generated_profiles_are_distributed_like_the_table(profiles: list[dict[str, Any]]) -> None:
    def share(name: str, value: object) -> float:
        return float(np.mean([profile[name] == value for profile in profiles]))

    assert share("plan", "basic") == pytest.approx(0.5, abs=0.08)
    assert share("region", None) == pytest.approx(0.1, abs=0.05)
    assert share("months", 0) == pytest.approx(0.05, abs=0.03)
    assert np.mean([profile["months"] for profile in profiles]) == pytest.approx(28.5, abs=4)


def test_a_profile_is_the_same_alone_and_in_any_batch(sampler: Sampler) -> None:
    z, targets = draw_noise(11, 400, sampler.noise), draw_targets(11, 400, 0.5)
    numbers, texts = sampler.run(z, targets, 400)
    for size in (1, 7, 64):
        again = sampler.run(z, targets, size)
        np.testing.assert_array_equal(again[0], numbers)
        assert (again[1] == texts).all()


def test_a_seed_gives_the_same_profiles_whatever_their_number(sampler: Sampler) -> None:
    few, many = sampler.sample(7, 3), sampler.sample(7, 50)
    np.testing.assert_array_equal(few[0], many[0][:3])
    assert (few[1] == many[1][:3]).all()
    assert (few[2] == many[2][:3]).all()


def test_the_target_that_is_asked_for_changes_the_profile(sampler: Sampler, columns: TablePreprocessing) -> None:
    z = draw_noise(2, ROWS, sampler.noise)
    place = [column.name for column in columns.numeric_columns].index("months")
    stayed, left = (sampler.run(z, np.full(ROWS, target))[0][:, place].mean() for target in (0, 1))
    assert left < stayed - 3


def test_the_golden_examples_are_what_the_graph_answers(
    models: Path, sampler: Sampler, columns: TablePreprocessing
) -> None:
    examples = load_golden(models / "profile_generator" / "1").examples
    requests = [json.loads(base64.b64decode(example.request.body)) for example in examples]
    assert requests[0] == {"count": 3, "seed": 7}
    assert [list(example.predictions) for example in examples[:1]] == [write_profiles(columns, *sampler.sample(7, 3))]
    asked = [example for example, request in zip(examples, requests, strict=True) if request.get("churn") == "yes"]
    assert all(profile["cancelled"] == "yes" for example in asked for profile in example.predictions)  # type: ignore[index,call-overload]


@pytest.mark.parametrize("columns", [("plan", "region", "app"), ("months", "price", "since")])
def test_a_table_of_one_sort_of_columns_is_learnt_too(columns: tuple[str, ...], places: Places, tmp_path: Path) -> None:
    settings = config(write_subscriptions(tmp_path / "table.csv", columns=columns), epochs=1)
    data = load(settings, places)
    encoding = build_encoding(data.train, settings.bins)
    rules = find_rules(encoding, data.train)
    network = start(settings, encoding, Accelerator()).averaged
    learnt = Learnt(encoding, rules, forbidden_pairs(rules, (2, *encoding.sizes)), network, [])
    served = build_served(settings, data, learnt)
    export_decoder(served, tmp_path / GRAPH_FILE)
    sampler = Sampler(tmp_path / GRAPH_FILE, data.table.preprocessing)
    assert check_rows(served, sampler) == 0
    assert set(write_profiles(data.table.preprocessing, *sampler.sample(0, 1))[0]) == {*columns, "cancelled"}  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(table: Path, tmp_path: Path) -> None:
    states = [
        train_alone(config(table, epochs=2, seed=seed), Places(tmp_path / name, tmp_path / name, tmp_path / name))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, second, third = (state.averaged.hidden for state in states)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_resumed_training_is_the_uninterrupted_one(
    table: Path, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(table, epochs=4)
    whole = train_alone(settings, Places(tmp_path / "m", tmp_path / "c", tmp_path / "whole"))

    def save_and_stop(state: State, settings: Config, path: Path) -> None:
        save(state, settings, path)
        if state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("training.profile_generator.train.save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_alone(settings, places)
    monkeypatch.undo()
    resumed = train_alone(settings, places, resume=True)
    assert [record["epoch"] for record in resumed.history] == [1, 2, 3, 4]
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name


def test_a_checkpoint_of_other_settings_is_refused(table: Path, places: Places) -> None:
    train_alone(config(table, epochs=1), places)
    with pytest.raises(SettingError, match="made with other settings: dropout"):
        train_alone(config(table, epochs=1, dropout=0.5), places, resume=True)


def test_a_loss_that_is_no_number_stops_the_training(table: Path, places: Places) -> None:
    with pytest.raises(DivergenceError, match=r"the loss is nan in epoch .* lower learning_rate than 1e\+30"):
        train_alone(config(table, learning_rate=1e30, epochs=20), places)


def test_a_table_too_small_to_split_is_refused(places: Places, tmp_path: Path) -> None:
    settings = config(write_subscriptions(tmp_path / "few.csv", rows=80))
    with pytest.raises(DataError, match="80 rows, expected 100 or more"):
        run(settings, places, resume=False)


def test_the_command_trains_a_plain_decoder(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.profile_generator.evaluate.RULE_ROWS", 1000)
    monkeypatch.setattr("training.profile_generator.evaluate.SAMPLES", 1)
    models = tmp_path / "models"
    arguments = ["profile_generator", "--smoke", "--data", str(table), "--target", "cancelled", "--models", str(models)]
    assert main([*arguments, "--output", str(tmp_path / "run"), "--architecture", "plain"]) == 0
    manifest = Repository(models).load("profile_generator", 1)
    assert manifest.architecture == "plain"
    assert "plan = 'basic': support = 'none'" in capsys.readouterr().out
