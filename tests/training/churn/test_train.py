"""Trainings of a few rows, from the command line to a version that answers raw customers."""

import base64
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from rich.console import Console

from models.columns import TablePreprocessing, read_value
from models.manifest import Manifest, load_golden
from models.repository import Repository
from tests.training.churn.customers import TELCO, write_csv, write_customers
from training.__main__ import main
from training.checkpoint import CHECKPOINT_FILE, load_facts
from training.churn.data import Fold, build_inputs, build_vocabulary, split_folds
from training.churn.report import make_report
from training.churn.train import RECIPES, SMOKE, Config, Predictions, State, fit, run, train_folds
from training.command import Places, build_config
from training.errors import DivergenceError, SettingError
from training.table import Table, load_table

ROOT = Path(__file__).parents[3]
SMALL = {"hidden": 8, "members": 2, "epochs": 4, "dropout": 0.2, "folds": 3, "repeats": 2, "baselines": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_customers(tmp_path_factory.mktemp("data") / "customers.csv")


def config(data: Path, **given: object) -> Config:
    return build_config(Config, RECIPES, {"data": str(data), "target": "Exited", **SMALL, **given})


def places(folder: Path) -> Places:
    return Places(models=folder / "models", cache=folder / "cache", output=folder / "run")


def train_alone(settings: Config, places: Places) -> tuple[State, Table, list[Fold]]:
    """Predict all folds, and publish nothing."""
    table = load_table(settings.data, places.cache, settings.target)
    folds = list(split_folds(table.targets, settings.folds, settings.repeats, settings.seed))
    state = State(Predictions(("network",), settings.repeats, len(table)))
    train_folds(settings, state, table, folds, Accelerator(), Console(quiet=True), places.output)
    return state, table, folds


@pytest.fixture(scope="module")
def version(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a small but whole training, baselines and all."""
    folder = tmp_path_factory.mktemp("version")
    run(config(data, baselines=True, epochs=8, tune=2, repeats=1), places(folder), resume=False)
    return folder / "models" / "churn" / "1"


def table_of(data: Path) -> Table:
    return load_table(str(data), data.parent, "Exited")


def manifest_of(version: Path) -> Manifest:
    return Repository(version.parents[1]).load("churn", 1)


def answer(version: Path, customers: list[dict[str, Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the graph says of raw customers: probabilities and log-odds."""
    columns = manifest_of(version).preprocessing
    assert isinstance(columns, TablePreprocessing)
    rows = [[read_value(column, customer[column.name]) for column in columns.columns] for customer in customers]
    numbers = np.array([[value for value in row if isinstance(value, float)] for row in rows], np.float32)
    texts = np.array([[value for value in row if isinstance(value, str)] for row in rows], np.object_)
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    probabilities, log_odds = session.run(None, {"numbers": numbers, "texts": texts})
    return probabilities, log_odds


def test_a_version_is_whole_and_says_what_it_is(version: Path) -> None:
    manifest = manifest_of(version)
    assert manifest.labels == ("0", "1")
    assert [(spec.name, spec.dtype, spec.shape) for spec in (*manifest.inputs, *manifest.outputs)] == [
        ("numbers", "float32", ("batch", 3)),
        ("texts", "string", ("batch", 3)),
        ("probabilities", "float32", ("batch", 2)),
        ("log_odds", "float32", ("batch", 1)),
    ]
    assert manifest.decision is not None
    assert next(iter(manifest.metrics)) == "roc_auc"
    assert float(str(manifest.metrics["roc_auc"])) > 0.7
    baselines: Any = manifest.metrics["baselines"]
    assert set(baselines) == {"logistic_regression", "catboost"}
    assert {"roc_auc_difference", "folds_better"} <= set(baselines["catboost"]["network_minus_baseline"])
    importances: Any = manifest.metrics["importances"]
    assert next(iter(importances)) == "Months"
    assert manifest.provenance.settings["tune"] == 2
    assert {path.name for path in version.iterdir()} >= {"background.json", "card.md", "golden.json", "effects.png"}


def test_the_card_shows_the_six_steps_and_only_pictures_that_are_there(version: Path) -> None:
    card = (version / "card.md").read_text(encoding="utf-8")
    steps = ("1. Prepare", "2. Build", "3. Train", "4. Evaluate and tune", "5. Predict", "6. Improve")
    places = [card.index(f"## {step}") for step in steps]
    assert places == sorted(places)
    pictures = [line.partition("](")[2].rstrip(")") for line in card.splitlines() if line.startswith("![")]
    assert sorted(pictures) == sorted(path.name for path in version.glob("*.png"))


def test_the_graph_has_one_look_up_and_standard_operators(version: Path) -> None:
    graph = onnx.load(version / "model.onnx")
    assert [node.op_type for node in graph.graph.node].count("LabelEncoder") == 1
    assert {(opset.domain, opset.version) for opset in graph.opset_import} == {("", 20), ("ai.onnx.ml", 4)}
    assert len(graph.opset_import) == 2


def test_probabilities_and_log_odds_are_the_same_answer(version: Path, data: Path) -> None:
    table = table_of(data)
    probabilities, log_odds = answer(version, [table.record(row) for row in range(50)])
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(1 / (1 + np.exp(-log_odds[:, 0])), probabilities[:, 1], atol=1e-6)


def test_what_is_missing_or_was_never_seen_has_an_answer(version: Path, data: Path) -> None:
    record = table_of(data).record(0)
    nothing = dict.fromkeys(record)
    unseen = {**record, "City": "Atlantis", "Months": 10**9, "Joined": "2200-01-01"}
    rare = {**record, "City": "Nowhere"}
    probabilities, _ = answer(version, [record, nothing, unseen, rare])
    assert np.isfinite(probabilities).all()
    assert ((probabilities > 0) & (probabilities < 1)).all()
    once, _ = answer(version, [{**record, "City": "Atlantis"}])
    # A category that training saw too seldom to learn is as unknown as one that it never saw.
    assert once[0] == pytest.approx(probabilities[3], abs=1e-6)


def test_the_golden_examples_are_what_the_graph_says_of_raw_requests(version: Path) -> None:
    manifest, golden = manifest_of(version), load_golden(version)
    decision = manifest.decision
    assert decision is not None
    columns = manifest.preprocessing
    assert isinstance(columns, TablePreprocessing)
    names, missing = set(), 0
    for example in golden.examples:
        customers = json.loads(base64.b64decode(example.request.body))["customers"]
        probabilities, _ = answer(version, customers)
        for customer, probability, expected in zip(customers, probabilities[:, 1], example.predictions, strict=True):
            assert isinstance(expected, dict)
            assert set(customer) >= {column.name for column in columns.columns}
            assert expected["churn_probability"] == pytest.approx(probability, abs=1e-6)
            assert expected["will_churn"] == bool(probability >= decision.threshold)
            assert expected["threshold"] == decision.threshold
            assert expected["risk"] in {band.name for band in decision.bands}
            assert expected["customer_id"] == customer.get("CustomerId")
            names.add(expected["customer_id"])
            missing += None in customer.values()
    assert None in names
    assert len(names) > 2
    assert missing


def test_the_background_is_of_rows_as_the_graph_reads_them(version: Path) -> None:
    background = json.loads((version / "background.json").read_text(encoding="utf-8"))
    assert np.array(background["numbers"], dtype=np.float32).shape == (64, 3)
    assert np.array(background["texts"]).shape == (64, 3)
    assert any(None in row for row in background["numbers"])


def test_the_textbook_net_has_five_hidden_units_and_one_output(data: Path, tmp_path: Path) -> None:
    settings = config(data, hidden=5, members=1, bins=1, dropout=0.0, epochs=20, repeats=1)
    state, table, folds = train_alone(settings, places(tmp_path))
    network = fit(settings, table, build_inputs(table), 0, Accelerator())
    assert network.entry.weight.shape == (5, len(network.encoder.means))
    assert network.exit.shape == (1, 5)
    assert sum(parameter.numel() for parameter in network.parameters()) == 5 * len(network.encoder.means) + 5 + 5 + 1
    assert make_report(settings, table, folds, state.predictions, state.records).metrics["roc_auc"] > 0.75  # type: ignore[operator]


def test_real_customers_train_and_costs_move_the_threshold(tmp_path: Path) -> None:
    free = config(TELCO, target="Churn")
    state, table, folds = train_alone(free, places(tmp_path))
    thresholds = [
        make_report(settings, table, folds, state.predictions, state.records).decision.threshold
        for settings in (
            replace(free, cost_false_negative=10.0, cost_false_positive=1.0),
            free,
            replace(free, cost_false_negative=1.0, cost_false_positive=3.0),
        )
    ]
    assert thresholds[0] <= thresholds[1] <= thresholds[2]
    assert thresholds[0] < thresholds[2]


@pytest.mark.parametrize("kept", [("Months", "Price"), ("Plan", "City")])
def test_a_table_of_numbers_or_of_words_alone_has_one_input(data: Path, tmp_path: Path, kept: tuple[str, ...]) -> None:
    dropped = ",".join({"Months", "Price", "Joined", "Plan", "City", "Mail"} - set(kept))
    manifest = run(config(data, drop=dropped, repeats=1), places(tmp_path), resume=False)
    assert manifest is not None
    assert [spec.name for spec in manifest.inputs] == ["numbers" if kept[0] == "Months" else "texts"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(data: Path) -> None:
    table, settings = table_of(data), config(data)
    inputs = build_inputs(table)
    first, again, other = (fit(settings, table, inputs, seed, Accelerator()).entry.weight for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_word_of_no_column_is_the_unknown_of_each(data: Path) -> None:
    vocabulary = build_vocabulary(table_of(data).preprocessing.text_columns)
    codes = vocabulary.encode(np.array([["Lima", "Lima", "Lima"], ["monthly", "Oslo", "yes"]], dtype=np.object_))
    assert [vocabulary.columns[code] for code in codes.ravel()] == [0, 1, 2, 0, 1, 2]
    assert codes[0, 0] == vocabulary.places[0][None]
    assert codes[0, 1] == vocabulary.places[1]["Lima"]


def test_a_loss_that_is_no_number_stops_the_training(data: Path) -> None:
    table = table_of(data)
    settings = config(data, learning_rate=float("inf"))
    with pytest.raises(DivergenceError, match=r"the loss is nan in epoch 1: .* lower learning_rate than inf"):
        fit(settings, table, build_inputs(table), 0, Accelerator())


def test_more_folds_than_rows_of_the_rarer_target_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="folds: 12 for 19 rows of the rarer target, expected at most 9"):
        run(config(TELCO, target="Churn", folds=12), places(tmp_path), resume=False)


def interrupted_training(data: Path, folder: Path) -> list[str]:
    """A training command, stopped by Ctrl-C between two folds."""
    arguments = ["churn", "--data", str(data), "--target", "Exited", "--hidden", "8", "--members", "2"]
    arguments += ["--epochs", "8", "--folds", "3", "--repeats", "10", "--no-baselines"]
    arguments += ["--models", str(folder / "models"), "--output", str(folder / "run")]
    checkpoint = folder / "run" / CHECKPOINT_FILE
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored, and a process inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not checkpoint.exists() or len(load_facts(checkpoint)["records"]) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "with --resume goes on" in errors
    assert "Traceback" not in errors
    return arguments


def test_a_stopped_training_leaves_no_version_and_resumes_to_the_same_result(data: Path, tmp_path: Path) -> None:
    arguments = interrupted_training(data, tmp_path)
    assert Repository(tmp_path / "models").versions("churn") == []
    assert main([*arguments, "--resume"]) == 0
    whole = [str(tmp_path / "whole") if part == str(tmp_path / "run") else part for part in arguments]
    assert main(whole) == 0
    resumed, uninterrupted = (Repository(tmp_path / "models").load("churn", number) for number in (1, 2))
    assert resumed.files["model.onnx"] == uninterrupted.files["model.onnx"]
    assert resumed.metrics == uninterrupted.metrics
    assert resumed.decision == uninterrupted.decision
    assert "--resume" not in resumed.provenance.command


def test_a_checkpoint_of_other_settings_or_another_table_is_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / data.name
    path.write_text(data.read_text())
    train_alone(config(path, repeats=1), places(tmp_path))
    with pytest.raises(SettingError, match="was made with other settings: hidden"):
        run(config(path, repeats=1, hidden=9), places(tmp_path), resume=True)
    path.write_text(data.read_text().replace("yearly", "annual"))
    with pytest.raises(SettingError, match="was made with another table than"):
        run(config(path, repeats=1), places(tmp_path), resume=True)


def test_a_smoke_run_takes_seconds_and_adds_a_version(tmp_path: Path) -> None:
    assert build_config(Config, RECIPES, SMOKE).repeats == 1
    arguments = ["churn", "--smoke", "--data", str(TELCO), "--models", str(tmp_path / "models")]
    assert main([*arguments, "--output", str(tmp_path / "run")]) == 0
    assert Repository(tmp_path / "models").versions("churn") == [1]


def test_a_table_that_cannot_be_learnt_ends_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "table.csv", [{"a": 1, "Churn": "Yes"}, {"a": 2, "Churn": "No"}])
    assert main(["churn", "--data", str(path), "--models", str(tmp_path / "models")]) == 1
    assert "error: data: " in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
