"""Cards written from a small trained network on real images."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from models.image import ImagePreprocessing
from models.manifest import DataSource, Manifest, Provenance, TensorSpec
from tests.training.image_classifier.samples import LABELS, learn
from training.image_classifier.card import CardFacts, write_card
from training.metrics import classification_metrics

KILOBYTE = 1000


def describe(labels: tuple[str, ...], metrics: dict[str, Any]) -> Manifest:
    data = DataSource(
        name="cifar10",
        source="forty images",
        sha256="ab" * 32,
        train_examples=20,
        validation_examples=0,
        test_examples=20,
    )
    provenance = Provenance(
        command="python -m training image_classifier --architecture cnn",
        seed=7,
        data=data,
        settings={"architecture": "cnn", "epochs": 8},
        libraries={"torch": "2.14.1"},
        hardware="a processor",
        training_seconds=300.0,
    )
    return Manifest(
        kind="image_classifier",
        version=3,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        task="image-classification",
        description="Classifies a picture.",
        architecture="cnn",
        parameters=4_170,
        inputs=(TensorSpec(name="images", dtype="uint8", shape=("batch", 32, 32, 3)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=("batch", len(labels))),),
        labels=labels,
        preprocessing=ImagePreprocessing(height=32, width=32, channels=3),
        metrics=metrics,
        provenance=provenance,
    )


@pytest.fixture
def facts() -> CardFacts:
    learnt = learn()
    metrics = classification_metrics(learnt.probabilities, learnt.test.labels, LABELS)
    network = learnt.served.network
    assert isinstance(network, nn.Sequential)
    convolution = network[0]
    assert isinstance(convolution, nn.Conv2d)
    example = learnt.test.images[3]
    generator = np.random.default_rng(0)
    return CardFacts(
        manifest=describe(LABELS, {**metrics, "temperature": 1.5, "accuracy_test_time_augmentation": 0.25}),
        history=learnt.history,
        test=learnt.test,
        probabilities=learnt.probabilities,
        filters=convolution.weight.detach().numpy(),
        feature_maps=generator.normal(size=(8, 30, 30)),
        example=example,
    )


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_the_card_says_what_the_manifest_says(facts: CardFacts, tmp_path: Path) -> None:
    write_card(tmp_path, facts)
    card = (tmp_path / "card.md").read_text()
    headings = re.findall(r"^#+ (.+)$", card, flags=re.MULTILINE)
    sections = ["Model details", "Intended use", "Data", "Training", "Results", "Limits", "How to make it again"]
    assert headings == ["image_classifier, version 3", *sections]
    accuracy = facts.manifest.metrics["accuracy"]
    assert isinstance(accuracy, float)
    assert f"| Accuracy, one pass for each image | {accuracy:.2%} |" in card
    for fact in ("| 25.00% |", "4,170 parameters", "divided by 1.500", "5 minutes", "--architecture cnn", "epochs = 8"):
        assert fact in card
    for label in LABELS:
        assert f"| {label} | " in card


def test_every_picture_stands_in_the_card_and_is_small(facts: CardFacts, tmp_path: Path) -> None:
    write_card(tmp_path, facts)
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (tmp_path / "card.md").read_text())
    files = pictures(tmp_path)
    assert sorted(linked) == list(files)
    assert len(files) == 5
    assert max(map(len, files.values())) < 150 * KILOBYTE
    assert sum(map(len, files.values())) < 600 * KILOBYTE
    for name in files:
        with Image.open(tmp_path / name) as picture:
            assert 400 <= picture.width <= 1_200, name


def test_the_same_facts_give_the_same_bytes(facts: CardFacts, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_card(tmp_path / name, facts)
    assert pictures(tmp_path / "first") == pictures(tmp_path / "second")
    assert (tmp_path / "first" / "card.md").read_bytes() == (tmp_path / "second" / "card.md").read_bytes()


def test_a_dense_first_layer_has_a_card_without_feature_maps(facts: CardFacts, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(40, 3, 32, 32))
    write_card(tmp_path, replace(facts, filters=weights, feature_maps=np.zeros((0, 1, 1))))
    with Image.open(tmp_path / "features.png") as picture:
        assert picture.width > 3 * picture.height


def test_a_classifier_without_mistakes_says_so(facts: CardFacts, tmp_path: Path) -> None:
    certain = np.eye(len(LABELS))[facts.test.labels]
    metrics = {**classification_metrics(certain, facts.test.labels, LABELS), "temperature": 1.0}
    write_card(tmp_path, replace(facts, probabilities=certain, manifest=describe(LABELS, metrics)))
    assert "No test image was mistaken." in (tmp_path / "card.md").read_text()


def test_many_classes_with_odd_names_and_large_grey_images_have_a_card(facts: CardFacts, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = tuple(f"class | number {index} of a hundred" for index in range(100))
    test = replace(
        facts.test,
        images=generator.integers(0, 256, (300, 96, 64, 1), dtype=np.uint8),
        labels=np.arange(300) % len(labels),
    )
    probabilities = generator.dirichlet(np.full(len(labels), 0.1), size=300)
    metrics = {**classification_metrics(probabilities, test.labels, labels), "temperature": 1.0}
    grey = {"test": test, "probabilities": probabilities, "filters": facts.filters[:, :1], "example": test.images[0]}
    write_card(tmp_path, replace(facts, manifest=describe(labels, metrics), **grey))
    card = (tmp_path / "card.md").read_text()
    assert "and 80 more" in card
    assert r"| class \| number 7 of a hundred | " in card
    assert max(map(len, pictures(tmp_path).values())) < 150 * KILOBYTE


def test_one_epoch_is_a_history_too(facts: CardFacts, tmp_path: Path) -> None:
    write_card(tmp_path, replace(facts, history=facts.history[:1]))
    assert "1 epoch; best" in (tmp_path / "card.md").read_text()
