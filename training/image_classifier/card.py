"""The model card: what a version is, what it is for, how good it is, and how to make it again.

Its sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes
from the manifest or from the arrays that it was computed from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.image import ImagePreprocessing
from models.manifest import CARD_FILE, Manifest, find_preprocessing
from training.diagrams import draw_confusion_matrix, draw_reliability
from training.image_classifier.pictures import draw_features, draw_learning_curves, draw_predictions
from training.images import Split
from training.metrics import measure_reliability
from training.sections import (
    count,
    describe_data,
    describe_making,
    enumerate_names,
    list_settings,
    make_class_table,
    make_details,
    make_figure_table,
    make_title,
)

Floats = NDArray[np.floating[Any]]

CONFUSIONS = 5
LABELS_SHOWN = 20

# In the order of the table. A metric that the manifest does not have is left out.
RESULTS: Mapping[str, tuple[str, str]] = {
    "accuracy": ("Accuracy, one pass for each image", ".2%"),
    "accuracy_test_time_augmentation": ("Accuracy, mean of six views of each image (not what is served)", ".2%"),
    "top_5_accuracy": ("Accuracy, the true class among the first five", ".2%"),
    "negative_log_likelihood": ("Negative log-likelihood", ".4f"),
    "expected_calibration_error": ("Expected calibration error, 15 bins", ".2%"),
    "brier_score": ("Brier score, summed over classes", ".4f"),
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from. ``example`` is the image that the feature maps answer; a dense first layer has none."""

    manifest: Manifest
    history: Sequence[Mapping[str, float]]  # epoch, train_loss, train_accuracy, validation_loss, validation_accuracy
    test: Split
    probabilities: Floats  # (test images, classes)
    filters: Floats  # (filters, channels, height, width)
    feature_maps: Floats  # (maps, height, width)
    example: NDArray[np.uint8]  # (height, width, channels)


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write ``card.md`` and its pictures into ``folder``."""
    labels, test = facts.manifest.labels, facts.test
    draw_learning_curves(folder / "learning_curves.png", facts.history)
    draw_confusion_matrix(folder / "confusion_matrix.png", _confusion_matrix(facts.manifest), labels, "images")
    draw_reliability(folder / "reliability.png", measure_reliability(facts.probabilities, test.labels))
    draw_predictions(folder / "predictions.png", test.images, facts.probabilities, test.labels, labels)
    draw_features(folder / "features.png", facts.example, facts.filters, facts.feature_maps)
    sections = (
        _details(facts.manifest),
        _intended_use(facts.manifest),
        _data(facts.manifest),
        _training(facts.manifest, facts.history),
        _results(facts),
        _limits(facts.manifest),
        describe_making(facts.manifest),
    )
    (folder / CARD_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _details(manifest: Manifest) -> str:
    pixels = find_preprocessing(manifest, ImagePreprocessing)
    colours = "RGB" if pixels.channels == 3 else "grey"
    fit = "cut to its largest centred part of that shape" if pixels.fit == "crop" else "stretched to that shape"
    labels = enumerate_names(manifest.labels, LABELS_SHOWN)
    rows = (
        ("Architecture", f"`{manifest.architecture}`, {manifest.parameters:,} parameters"),
        ("Input", f"{pixels.width} x {pixels.height} pixels, {colours}; a larger picture is {fit} and resized"),
        ("Output", f"a calibrated probability for each of {len(manifest.labels)} classes: {labels}"),
    )
    return f"{make_title(manifest)}\n\n## Model details\n\n{make_details(manifest, rows)}"


def _intended_use(manifest: Manifest) -> str:
    return (
        "## Intended use\n\n"
        f"Naming what a picture shows, where it shows one of the {len(manifest.labels)} classes. The probabilities "
        "are fit to choose a threshold below which a person looks, or nothing is said.\n\n"
        "It is not made for pictures of anything else, for several objects in one picture, for finding where in "
        "a picture something is, or for decisions about people."
    )


def _data(manifest: Manifest) -> str:
    return describe_data(
        manifest,
        examples="images",
        digested="training images",
        training="the weights",
        validation="watched during training; the temperature",
    )


def _training(manifest: Manifest, history: Sequence[Mapping[str, float]]) -> str:
    best = max(history, key=lambda record: record["validation_accuracy"])
    return (
        f"## Training\n\n{count(len(history), 'epoch')}; best validation accuracy {best['validation_accuracy']:.2%} "
        f"in epoch {best['epoch']:.0f}. Training loss and accuracy are those of the changed images that the network "
        "learnt from, so they can be worse than those of the untouched validation images.\n\n"
        f"![Loss and accuracy over epochs](learning_curves.png)\n\n{list_settings(manifest)}"
    )


def _results(facts: CardFacts) -> str:
    metrics: Mapping[str, Any] = facts.manifest.metrics
    calibration = f"Logits are divided by {metrics['temperature']:.3f}, fitted on the validation split, so that "
    return (
        f"## Results\n\nOn the {len(facts.test):,} images of the test split.\n\n"
        f"{make_figure_table(metrics, RESULTS)}\n\n"
        f"{calibration}confidence agrees with accuracy:\n\n![Accuracy against confidence](reliability.png)\n\n"
        f"{make_class_table(metrics['per_class'], 'test images')}\n\n![Confusion matrix](confusion_matrix.png)\n\n"
        f"{_confusions(facts.manifest)}\n\n![Test images with predictions](predictions.png)\n\n"
        "![Filters of the first layer and feature maps of an image](features.png)"
    )


def _confusions(manifest: Manifest) -> str:
    """The most frequent mistakes, in a sentence."""
    matrix = _confusion_matrix(manifest)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:CONFUSIONS]
    labels = manifest.labels
    mistakes = [
        f"{labels[true]} as {labels[taken]} ({shares[true, taken]:.1%})"
        for true, taken in zip(*np.unravel_index(order, shares.shape), strict=True)
        if shares[true, taken] > 0
    ]
    return f"Most often mistaken: {', '.join(mistakes)}." if mistakes else "No test image was mistaken."


def _limits(manifest: Manifest) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    worst = min(metrics["per_class"].items(), key=lambda item: item[1]["recall"])
    pixels = find_preprocessing(manifest, ImagePreprocessing)
    return (
        "## Limits\n\n"
        f"- It has no answer for a picture of none of its classes: the probabilities of the {len(manifest.labels)} "
        "always add up to one, and can be high for one of them.\n"
        f"- It sees {pixels.width} x {pixels.height} pixels. What is small in a large picture, or outside its centre, "
        "is lost before the network sees it.\n"
        "- The test images come from where the training images come from. On pictures from elsewhere it is less often "
        "right than the table says, and its probabilities are too high.\n"
        f"- It is not equally good at all classes: it finds {worst[1]['recall']:.1%} of {worst[0]}, the least.\n"
        "- What the training images leave out has not been examined."
    )


def _confusion_matrix(manifest: Manifest) -> NDArray[np.int64]:
    return np.asarray(manifest.metrics["confusion_matrix"], dtype=np.int64)
