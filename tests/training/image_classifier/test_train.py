import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from accelerate import Accelerator

from models.manifest import load_golden
from models.repository import Repository
from tests.training.image_classifier.pictures import COLOURS, draw, write_folder
from training.__main__ import main
from training.checkpoint import CHECKPOINT_FILE, load_facts
from training.command import Places, build_config
from training.errors import DivergenceError, SettingError
from training.image_classifier.train import RECIPES, Config, State, out_of_patience, run, start, train
from training.images import load_images
from training.statistics import remeasure

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "colours", per_class=40)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(models=tmp_path / "models", cache=tmp_path / "cache", output=tmp_path / "run")


def config(folder: Path, **given: object) -> Config:
    small = {"data": str(folder), "epochs": 3, "batch_size": 20, "validation_fraction": 0.2, "precision": "fp32"}
    return build_config(Config, RECIPES, {"architecture": "cnn", **small, **given})


def weights(state: State) -> list[torch.Tensor]:
    return [value for value in state.best.state_dict().values() if value.is_floating_point()]


def train_alone(settings: Config, places: Places) -> State:
    """Train without publishing."""
    accelerator = Accelerator()
    torch.manual_seed(settings.seed)
    data = load_images(
        settings.data, places.cache, validation_fraction=settings.validation_fraction, seed=settings.seed
    )
    state = start(settings, data, accelerator)
    train(settings, state, data, accelerator, places.output)
    return state


@pytest.mark.parametrize(("architecture", "epochs"), [("mlp", 4), ("cnn", 4), ("resnet", 2)])
def test_a_training_adds_a_version_that_is_right_about_the_colours(
    folder: Path, places: Places, architecture: str, epochs: int
) -> None:
    settings = build_config(
        Config,
        RECIPES,
        {
            "architecture": architecture,
            "data": str(folder),
            "epochs": epochs,
            "batch_size": 19,
            "validation_fraction": 0.2,
        },
    )
    manifest = run(settings, places, resume=False)
    assert manifest is not None
    assert Repository(places.models).load("image_classifier", 1) == manifest
    assert manifest.labels == tuple(COLOURS)
    accuracy = manifest.metrics["accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy > 0.9
    assert manifest.provenance.data.test_examples == 24
    version = places.models / "image_classifier" / "1"
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(7)
    red = np.stack([np.asarray(draw(COLOURS["red"], (32, 32), generator)) for _ in range(3)])
    (probabilities,) = session.run(None, {"images": red})
    assert probabilities.argmax(axis=1).tolist() == [list(COLOURS).index("red")] * 3
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert load_golden(version).examples
    statistics = manifest.statistics
    assert statistics is not None
    assert (statistics.input_rows, statistics.prediction_rows) == (manifest.provenance.data.train_examples, 24)
    assert remeasure(version, None, places.cache) == manifest


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    states = [
        train_alone(config(folder, seed=seed, cut_out=4, dropout=0.2), Places(tmp_path, tmp_path, tmp_path / str(n)))
        for n, seed in enumerate((5, 5, 6))
    ]
    first, again, other = (weights(state) for state in states)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def interrupted_training(folder: Path, tmp_path: Path) -> list[str]:
    """A training command, stopped by Ctrl-C."""
    arguments = ["image_classifier", "--architecture", "cnn", "--data", str(folder), "--epochs", "80"]
    arguments += ["--pruning", "0.5"]
    checkpoint = tmp_path / "run" / CHECKPOINT_FILE
    arguments += ["--batch-size", "8", "--validation-fraction", "0.2", "--precision", "fp32", "--average-decay", "0.9"]
    arguments += ["--models", str(tmp_path / "models"), "--output", str(tmp_path / "run"), "--dropout", "0.3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored, and a process inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not checkpoint.exists() or load_facts(checkpoint)["epoch"] < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "with --resume goes on from the last whole epoch" in errors
    assert "Traceback" not in errors
    return arguments


def test_a_stopped_training_leaves_no_version_and_resumes_to_the_same_result(folder: Path, tmp_path: Path) -> None:
    arguments = interrupted_training(folder, tmp_path)
    assert Repository(tmp_path / "models").versions("image_classifier") == []
    assert main([*arguments, "--resume"]) == 0
    arguments[arguments.index("--models") + 1] = str(tmp_path / "whole-models")
    arguments[arguments.index("--output") + 1] = str(tmp_path / "whole")
    assert main(arguments) == 0
    resumed, whole = (
        (tmp_path / name / "image_classifier" / "1" / "model.onnx").read_bytes() for name in ("models", "whole-models")
    )
    assert resumed == whole


def test_resuming_with_other_settings_is_an_error_that_names_them(folder: Path, places: Places) -> None:
    run(config(folder, epochs=1), places, resume=False)
    with pytest.raises(SettingError, match="was made with other settings: learning_rate, seed"):
        run(config(folder, epochs=1, learning_rate=0.5, seed=3), places, resume=True)


@pytest.mark.parametrize("name", ["translate", "cut_out"])
def test_changes_larger_than_the_images_are_an_error(folder: Path, places: Places, name: str) -> None:
    with pytest.raises(SettingError, match=f"{name}: 32 pixels of images of 32x32, expected fewer"):
        run(config(folder, **{name: 32}), places, resume=False)
    assert not places.models.exists()


def test_resuming_where_nothing_was_trained_is_an_error(folder: Path, places: Places) -> None:
    with pytest.raises(SettingError, match=f"resume: '{places.output / CHECKPOINT_FILE}' is no checkpoint"):
        run(config(folder), places, resume=True)


def test_a_loss_that_is_no_number_stops_with_a_reason_and_no_version(folder: Path, places: Places) -> None:
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) in epoch \d: .* lower learning_rate than 1e\+30"):
        run(config(folder, optimizer="sgd", learning_rate=1e30, warmup_fraction=0.0), places, resume=False)
    assert not places.models.exists()


def test_patience_stops_the_training_and_keeps_the_best_weights(folder: Path, places: Places) -> None:
    settings = config(folder, epochs=30, patience=2, schedule="constant", learning_rate=0.02, average_decay=0.0)
    state = train_alone(settings, places)
    losses = [record["validation_loss"] for record in state.history]
    assert len(losses) < 30
    assert min(losses) == losses[-3]
    assert not all(torch.equal(a, b) for a, b in zip(weights(state), state.network.state_dict().values(), strict=True))


def test_an_epoch_leaves_out_images_that_are_known_and_remembers_the_losses_of_the_others(
    folder: Path, tmp_path: Path
) -> None:
    alike = {"pruning": 0.9, "schedule": "constant", "warmup_fraction": 0.0}
    first, second = (
        train_alone(config(folder, epochs=epochs, **alike), Places(tmp_path, tmp_path, tmp_path / str(epochs)))
        for epochs in (1, 2)
    )
    again = first.pruning.losses != second.pruning.losses
    mean = first.pruning.losses.nanmean()
    assert again[first.pruning.losses < mean].float().mean() < 0.4
    assert again[first.pruning.losses > mean].float().mean() > 0.6


def test_out_of_patience_counts_from_the_best_epoch(folder: Path) -> None:
    settings = config(folder, patience=2)
    history = [{"validation_loss": loss} for loss in (3.0, 2.0, 2.5)]
    assert not out_of_patience(settings, [])
    assert not out_of_patience(settings, history)
    assert out_of_patience(settings, [*history, {"validation_loss": 2.1}])


def test_curves_are_written_for_tensorboard(folder: Path, places: Places) -> None:
    train_alone(config(folder, epochs=1), places)
    assert list((places.output / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("given", [["--rotate", "15", "--l1", "1e-5", "--optimizer", "adagrad"], ["--no-flip"]])
def test_the_smoke_size_trains_in_seconds_from_the_command_line(
    folder: Path, tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["image_classifier", "--smoke", "--architecture", "cnn", "--data", str(folder)]
    assert main([*arguments, "--models", str(tmp_path / "m"), "--output", str(tmp_path / "o"), *given]) == 0
    assert f"added {tmp_path / 'm' / 'image_classifier' / '1'}" in capsys.readouterr().out


def test_bad_data_is_one_line_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image_classifier", "--data", str(tmp_path / "nowhere"), "--models", str(tmp_path / "m")]) == 1
    assert capsys.readouterr().err.startswith("error: data: '")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--epochs", "0"], "epochs: 0 is too small, expected 1 or more"),
        (["--learning-rate", "-1"], "learning_rate: -1.0 is too small, expected 0 or more"),
        (["--pruning", "0.95"], "pruning: 0.95 is too large, expected 0.9 or less"),
    ],
)
def test_a_setting_out_of_range_is_one_line(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image_classifier", *given]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"


def test_two_processes_train_one_model_together(folder: Path, tmp_path: Path) -> None:
    arguments = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    arguments += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module", "training", "image_classifier"]
    arguments += ["--architecture", "cnn", "--data", str(folder), "--epochs", "6", "--batch-size", "20"]
    arguments += ["--validation-fraction", "0.2", "--precision", "fp32", "--pruning", "0.3"]
    result = subprocess.run(
        [sys.executable, *arguments, "--models", str(tmp_path / "models"), "--output", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    manifest = json.loads((tmp_path / "models" / "image_classifier" / "1" / "manifest.json").read_text())
    assert manifest["metrics"]["accuracy"] > 0.9
    assert Repository(tmp_path / "models").versions("image_classifier") == [1]
