import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from models.image import ImagePreprocessing
from models.manifest import Manifest, load_golden
from models.repository import Repository
from tests.training.image_classifier.pictures import COLOURS, write_folder
from tests.training.image_generator.small import config, train_alone, weights
from training.__main__ import main
from training.checkpoint import CHECKPOINT_FILE
from training.command import Places
from training.errors import DivergenceError, SettingError
from training.image_generator.comparison import compare
from training.image_generator.losses import LOSSES
from training.image_generator.model import Shape, build_discriminator
from training.image_generator.sampling import Sampler
from training.image_generator.train import ask, keep_best, run
from training.noise import draw_noise

EPOCHS = 50
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def published(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, Manifest]:
    """A small training of the default architecture, with its version."""
    home = tmp_path_factory.mktemp("published")
    places = Places(home / "models", home / "cache", home / "run")
    rates: dict[str, Any] = {
        "generator_learning_rate": 2e-3,
        "discriminator_learning_rate": 4e-3,
        "average_decay": 0.95,
    }
    settings = config(
        colours, epochs=EPOCHS, classification_weight=1.0, width=8, judge_epochs=8, score_epochs=12, **rates
    )
    manifest = run(settings, places, resume=False)
    assert manifest is not None
    return places, manifest


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "models", tmp_path / "cache", tmp_path / "run")


def folder_of(published: tuple[Places, Manifest]) -> Path:
    return published[0].models / "image_generator" / "1"


def test_a_training_adds_a_version_whose_graph_takes_noise_label_and_truncation(
    published: tuple[Places, Manifest],
) -> None:
    places, manifest = published
    assert Repository(places.models).load("image_generator", 1) == manifest
    assert manifest.labels == tuple(COLOURS)
    assert manifest.preprocessing == ImagePreprocessing(height=8, width=8, channels=3)
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.inputs] == [
        ("z", "float32", ("batch", 8)),
        ("label", "int64", ("batch",)),
        ("truncation", "float32", ("batch",)),
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.outputs] == [
        ("images", "uint8", ("batch", 8, 8, 3))
    ]


def test_images_have_the_colour_that_was_asked_for(published: tuple[Places, Manifest]) -> None:
    sampler = Sampler(folder_of(published) / "model.onnx")
    for index, colour in enumerate(COLOURS.values()):
        images = sampler.sample(3, np.full(20, index))
        assert np.abs(images.mean(axis=(0, 1, 2)) - colour).max() < 60
    assert published[1].metrics["conditional_accuracy"] == pytest.approx(1.0, abs=0.3)


def test_an_image_is_the_same_alone_and_in_any_batch(published: tuple[Places, Manifest]) -> None:
    sampler = Sampler(folder_of(published) / "model.onnx")
    z, labels = draw_noise(5, 33, sampler.latents), np.arange(33) % 3
    whole = sampler.run(z, labels)
    for size in (1, 2, 5, 32):
        assert np.array_equal(sampler.run(z, labels, batch_size=size), whole)


def test_the_metrics_say_how_good_how_diverse_and_how_new_images_are(published: tuple[Places, Manifest]) -> None:
    metrics = published[1].metrics
    assert next(iter(metrics)) == "conditional_accuracy"
    assert metrics["classification_accuracy_score_of_training_images"] > 0.9  # type: ignore[operator]
    for name in ("classification_accuracy_score", "precision", "recall", "density", "coverage", "duplicates_share"):
        assert isinstance(metrics[name], float), name
    assert metrics["frechet_ratio"] == pytest.approx(
        metrics["frechet_distance"] / metrics["frechet_distance_of_training_images"],  # type: ignore[operator]
        rel=0.01,
    )
    assert metrics["classes_missing"] == 0
    assert set(metrics["per_class"]) == set(COLOURS)  # type: ignore[arg-type]


def test_golden_examples_are_what_the_graph_makes_of_their_seeds(published: tuple[Places, Manifest]) -> None:
    session = onnxruntime.InferenceSession(folder_of(published) / "model.onnx", providers=["CPUExecutionProvider"])
    golden = load_golden(folder_of(published))
    for example in golden.examples:
        request = json.loads(base64.b64decode(example.request.body))
        assert len(example.predictions) == request["count"]
        for place, prediction in enumerate(example.predictions):
            assert isinstance(prediction, dict)
            seed = request["seed"] + place
            inputs = {
                "z": draw_noise(seed, 1, 8),
                "label": np.array([list(COLOURS).index(request["label"])]),
                "truncation": np.array([request.get("truncation", 1.0)], np.float32),
            }
            (images,) = session.run(None, inputs)
            assert (prediction["seed"], prediction["label"]) == (seed, request["label"])
            assert np.abs(np.array(prediction["pixels"]) * 255 - images[0]).max() < 0.1


def test_the_card_shows_every_picture_and_says_what_the_manifest_says(published: tuple[Places, Manifest]) -> None:
    folder, manifest = folder_of(published), published[1]
    card = (folder / "card.md").read_text(encoding="utf-8")
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card)
    assert sorted(linked) == sorted(path.name for path in folder.glob("*.png"))
    assert len(linked) == 4
    for name in linked:
        with Image.open(folder / name) as picture:
            assert 150 < picture.width < 1300, name
    coverage = manifest.metrics["coverage"]
    assert f"| Coverage | {coverage:.4f} |" in card
    for fact in (f"{manifest.parameters:,} parameters", "| blue | ", "## Limits", "| 0.5 | ", "average_decay = 0.95"):
        assert fact in card


def test_the_table_of_remedies_names_what_differs_from_the_reference(published: tuple[Places, Manifest]) -> None:
    reference = published[1]
    changed = reference.provenance.model_copy(
        update={"settings": {**reference.provenance.settings, "spectral_norm": False, "data": "elsewhere"}}
    )
    results = {"reference": reference, "free": reference.model_copy(update={"provenance": changed})}
    lines = compare(results).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| reference | ")
    assert lines[3].startswith("| spectral_norm = False | ")
    assert compare({"free": reference}) == ""


def test_samples_and_curves_are_kept_of_every_epoch(published: tuple[Places, Manifest]) -> None:
    output = published[0].output
    assert len(list((output / "samples").glob("*.png"))) == EPOCHS
    with Image.open(output / "samples" / f"{EPOCHS:04}.png") as picture:
        assert picture.size == (8 * 10 - 2, 3 * 10 - 2)
    assert list((output / "tensorboard").glob("events.out.tfevents.*"))


def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(colours, epochs=3, translate=1, cut_out=2, flip=True)
    whole = train_alone(settings, Places(tmp_path, tmp_path, tmp_path / "whole"))
    places = Places(tmp_path, tmp_path, tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr("training.image_generator.train.check_health", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_alone(settings, places)
    resumed = train_alone(settings, places, resume=True)
    assert [record["epoch"] for record in resumed.history] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(whole), strict=True))
    for name in ("discriminator_loss", "validation_frechet_distance"):
        assert [record[name] for record in resumed.history] == [record[name] for record in whole.history]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_resuming_with_other_settings_is_an_error_that_names_them(colours: Path, places: Places) -> None:
    train_alone(config(colours, epochs=1), places)
    with pytest.raises(SettingError, match="was made with other settings: loss, seed"):
        train_alone(config(colours, epochs=1, loss="bce", seed=3), places, resume=True)


def test_the_weights_of_the_epoch_nearest_to_the_validation_images_are_kept(colours: Path, places: Places) -> None:
    state = train_alone(config(colours, "mlp", epochs=1), places)
    kept = weights_of(state.best)
    with torch.no_grad():
        for parameter in state.average.module.parameters():
            parameter.add_(1.0)
    distance = state.history[0]["validation_frechet_distance"]
    keep_best(state, {"validation_frechet_distance": 2 * distance})
    assert torch.equal(weights_of(state.best), kept)
    keep_best(state, {"validation_frechet_distance": distance / 2})
    assert torch.equal(weights_of(state.best), kept + 1.0)


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach()


def test_a_loss_that_is_no_number_stops_with_a_reason(colours: Path, places: Places) -> None:
    settings = config(colours, "mlp", generator_learning_rate=1e30, discriminator_learning_rate=1e30, epochs=9)
    with pytest.raises(DivergenceError, match=r"diverged in epoch \d: the \w+'s loss is (nan|inf), expected a number"):
        train_alone(settings, places)


@pytest.mark.parametrize(
    ("architecture", "given"),
    [
        *(("sngan", {"loss": loss}) for loss in LOSSES),
        ("dcgan", {"feature_matching": 1.0, "label_smoothing": 0.1}),
        ("mlp", {"classification_weight": 0.5}),
        ("sngan", {"loss": "relativistic", "zero_penalty": 1.0, "penalty_interval": 2, "spectral_norm": False}),
        ("dcgan", {"loss": "wgan-gp", "discriminator_steps": 2}),
    ],
)
def test_every_loss_and_remedy_trains_both_networks(
    colours: Path, places: Places, architecture: str, given: dict[str, object]
) -> None:
    state = train_alone(config(colours, architecture, epochs=1, judge_epochs=1, **given), places)
    assert np.isfinite([state.history[0][f"{name}_loss"] for name in ("discriminator", "generator")]).all()
    for optimizer in state.optimizers():
        moved = [values["step"].item() for values in optimizer.state.values()]
        assert moved
        assert min(moved) > 0


@pytest.mark.parametrize("architecture", ["sngan", "dcgan", "mlp"])
def test_what_a_discriminator_says_of_generated_images_does_not_depend_on_whether_it_sees_real_ones_too(
    colours: Path, architecture: str
) -> None:
    torch.manual_seed(0)
    settings = config(colours, architecture, spectral_norm=False)  # which changes with every look
    discriminator = build_discriminator(settings, Shape(3, 8, len(COLOURS)))
    for module in discriminator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    real, fake, labels = torch.rand(6, 3, 8, 8), torch.rand(6, 3, 8, 8) - 1.0, torch.arange(6) % len(COLOURS)
    random, accelerator = torch.Generator().manual_seed(0), Accelerator()
    _, beside = ask(settings, discriminator, (real, fake), labels, random, accelerator)
    (alone,) = ask(settings, discriminator, (fake,), labels, random, accelerator)
    assert torch.allclose(beside.score, alone.score, atol=1e-5)


def test_changes_larger_than_the_images_are_an_error(colours: Path, places: Places) -> None:
    with pytest.raises(SettingError, match="cut_out: 8 pixels of images of 8x8, expected fewer"):
        train_alone(config(colours, cut_out=8), places)


def test_one_class_and_the_smoke_size_train_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "all", per_class=60, size=(8, 8))
    (tmp_path / "reds").mkdir()
    (tmp_path / "all" / "red").rename(tmp_path / "reds" / "red")
    arguments = ["image_generator", "--smoke", "--architecture", "mlp", "--data", str(tmp_path / "reds")]
    arguments += ["--models", str(tmp_path / "m"), "--output", str(tmp_path / "o"), "--precision", "fp32"]
    assert main([*arguments, "--batch-size", "8"]) == 0
    assert f"added {tmp_path / 'm' / 'image_generator' / '1'}" in capsys.readouterr().out
    manifest = Repository(tmp_path / "m").load("image_generator", 1)
    assert manifest.labels == ("red",)
    assert "conditional_accuracy" not in manifest.metrics
    assert (tmp_path / "o" / CHECKPOINT_FILE).exists()


def test_two_processes_train_one_model_together(colours: Path, tmp_path: Path) -> None:
    arguments = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    arguments += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module", "training", "image_generator"]
    arguments += ["--architecture", "mlp", "--data", str(colours), "--epochs", "2", "--batch-size", "16"]
    arguments += ["--judge-epochs", "2", "--score-epochs", "2", "--validation-fraction", "0.2", "--precision", "fp32"]
    arguments += ["--models", str(tmp_path / "models"), "--output", str(tmp_path / "run")]
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    assert Repository(tmp_path / "models").versions("image_generator") == [1]
