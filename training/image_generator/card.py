"""The model card: what a version is, what it is for, how good it is, and how to make it again.

Its sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes
from the manifest or from the images that it was computed from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.image import ImagePreprocessing
from models.manifest import CARD_FILE, Manifest, find_preprocessing
from training.image_generator.comparison import REFERENCE, compare
from training.image_generator.evaluate import Measurements
from training.image_generator.pictures import draw_learning_curves, draw_rows
from training.image_generator.sampling import Sampler
from training.images import ImageData
from training.noise import draw_noise, interpolate
from training.sections import (
    count,
    describe_data,
    describe_making,
    enumerate_names,
    list_settings,
    make_details,
    make_figure_table,
    make_table,
    make_title,
)

LABELS_SHOWN = 20
COLUMNS = 12
NEIGHBOUR_PAIRS = 6
FROM_SEED, TO_SEED = 1, 2

INTENDED_USE = (
    "## Intended use\n\n"
    "Images to develop, demonstrate and test with, and to see what such a network learns. An image that the service "
    "answers says in its metadata that it is synthetic.\n\n"
    "It is not made to pass for photographs, to stand in for real images where something is decided by them, or to "
    "add to what a classifier learns from without a look at the score below."
)

# In the order of the tables: of generated images, and beside it the same of real ones where there is one.
CLASSES: Mapping[str, tuple[str, str, str]] = {
    "conditional_accuracy": (
        "Recognised by the judge as what was asked for",
        "conditional_accuracy_of_test_images",
        ".2%",
    ),
    "classification_accuracy_score": (
        "Accuracy on real test images of a classifier that learnt such images alone",
        "classification_accuracy_score_of_training_images",
        ".2%",
    ),
    "classes_missing": ("Classes that the judge finds in no image", "", "d"),
}
FIDELITY: Mapping[str, tuple[str, str, str]] = {
    "frechet_distance": ("Fréchet distance from test images", "frechet_distance_of_training_images", ".4f"),
    "frechet_ratio": ("the same, in multiples of that of training images", "", ".2f"),
    "precision": ("Precision", "precision_of_training_images", ".4f"),
    "recall": ("Recall", "recall_of_training_images", ".4f"),
    "density": ("Density", "density_of_training_images", ".4f"),
    "coverage": ("Coverage", "coverage_of_training_images", ".4f"),
    "diversity": ("Spread of features within a class, as a share of that of test images", "", ".2%"),
    "least_diversity": ("the same, of the class where it is least", "", ".2%"),
}
TWINS: Mapping[str, tuple[str, str]] = {
    "duplicates_share": ("Images that are another one, bit by bit", ".3%"),
    "near_duplicates_share": ("Images nearer to another one than all but 1% of test images are", ".3%"),
    "training_copies_share": ("Images nearer to a training image than all but 1% of test images are", ".3%"),
    "median_distance_to_training": ("Distance to the nearest training image, median, in levels", ".2f"),
    "median_distance_of_test_images_to_training": ("For comparison: of test images", ".2f"),
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from. ``results`` are the trainings that its table of remedies compares."""

    manifest: Manifest
    history: Sequence[Mapping[str, float]]
    data: ImageData
    measurements: Measurements
    sampler: Sampler
    results: Mapping[str, Manifest]


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write ``card.md`` and its pictures into ``folder``."""
    draw_learning_curves(folder / "learning_curves.png", facts.history)
    _draw_classes(folder / "classes.png", facts)
    _draw_interpolations(folder / "interpolations.png", facts)
    _draw_neighbours(folder / "neighbours.png", facts)
    sections = (
        _details(facts.manifest),
        INTENDED_USE,
        _data(facts.manifest),
        _training(facts.manifest, facts.history),
        _results(facts.manifest),
        *_remedies(facts.results),
        _latent_space(facts.manifest),
        _memorisation(facts.manifest),
        _limits(facts.manifest),
        describe_making(facts.manifest),
    )
    (folder / CARD_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _draw_classes(path: Path, facts: CardFacts) -> None:
    """A row of images of each class, from the same noise."""
    names = facts.manifest.labels[:LABELS_SHOWN]
    z = np.tile(draw_noise(FROM_SEED, COLUMNS, facts.sampler.latents), (len(names), 1))
    draw_rows(path, facts.sampler.run(z, np.repeat(np.arange(len(names)), COLUMNS)), names)


def _draw_interpolations(path: Path, facts: CardFacts) -> None:
    """Of each class the way from one seed to another."""
    names = facts.manifest.labels[:LABELS_SHOWN]
    start, end = (draw_noise(seed, 1, facts.sampler.latents)[0] for seed in (FROM_SEED, TO_SEED))
    z = np.tile(interpolate(start, end, COLUMNS), (len(names), 1))
    draw_rows(path, facts.sampler.run(z, np.repeat(np.arange(len(names)), COLUMNS)), names)


def _draw_neighbours(path: Path, facts: CardFacts) -> None:
    """Generated images of each class with their nearest training images: in pairs, the generated one first."""
    measured, names = facts.measurements, facts.manifest.labels[:LABELS_SHOWN]
    images, shown = [], []
    for index, name in enumerate(names):
        places = np.flatnonzero(measured.labels[: len(measured.nearest)] == index)[:NEIGHBOUR_PAIRS]
        if len(places) == NEIGHBOUR_PAIRS:
            pairs = (measured.generated[places], facts.data.train.images[measured.nearest[places]])
            images.append(np.stack(pairs, axis=1).reshape(-1, *measured.generated.shape[1:]))
            shown.append(name)
    if shown:
        draw_rows(path, np.concatenate(images), shown, [(0, "generated, its nearest training image, and so on")])


def _details(manifest: Manifest) -> str:
    pixels = find_preprocessing(manifest, ImagePreprocessing)
    colours = "RGB" if pixels.channels == 3 else "grey"
    latents = manifest.inputs[0].shape[1]
    labels = enumerate_names(manifest.labels, LABELS_SHOWN)
    rows = (
        ("Architecture", f"`{manifest.architecture}`, {manifest.parameters:,} parameters of the generator"),
        (
            "Input",
            f"{latents} standard normal numbers, one of {count(len(manifest.labels), 'label')}, a truncation of 0 to 1",
        ),
        ("Output", f"{pixels.width} x {pixels.height} pixels, {colours}: {labels}"),
    )
    return (
        f"{make_title(manifest)}\n\n## Model details\n\n{make_details(manifest, rows)}\n\n"
        "![Images of each class](classes.png)"
    )


def _data(manifest: Manifest) -> str:
    return describe_data(
        manifest,
        examples="images",
        digested="training images",
        training="the weights; what the judge has learnt",
        validation="watched during training; which epoch's weights are kept",
    )


def _training(manifest: Manifest, history: Sequence[Mapping[str, float]]) -> str:
    best = min(history, key=lambda record: record["validation_frechet_distance"])
    return (
        f"## Training\n\n{count(len(history), 'epoch')}; the averaged weights of epoch {best['epoch']:.0f} are kept, "
        f"whose Fréchet distance from the validation images is the least ({best['validation_frechet_distance']:.4f}). "
        "The time is that of the generator, the discriminator and the judge together.\n\n"
        f"![Losses and what was watched, over epochs](learning_curves.png)\n\n{list_settings(manifest)}"
    )


def _results(manifest: Manifest) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    header = ("metric", "generated images", "real images")
    rows = [
        (
            title,
            format(metrics[name], form),
            format(metrics[beside], form) if beside else "",
        )
        for name, (title, beside, form) in {**CLASSES, **FIDELITY}.items()
        if name in metrics
    ]
    return (
        f"## Results\n\nOf {metrics['images_compared']:,} images that the exported graph made for labels of the test "
        "split. The judge is a small classifier of this project that has learnt the training split and had no part in "
        "the generator's training; features are its last but one layer's, so distances compare with others of this "
        "judge alone. Real images are test images where classes are concerned, and training images where they are "
        "learnt from, and beside test images where distances are concerned.\n\n"
        f"{make_table(header, rows)}" + _per_class(metrics) + _truncation(metrics)
    )


def _per_class(metrics: Mapping[str, Any]) -> str:
    if "per_class" not in metrics:
        return ""
    rows = [
        (label, f"{share['recognised']:.2%}", f"{share['recognised_of_test_images']:.2%}")
        for label, share in metrics["per_class"].items()
    ]
    return f"\n\n{make_table(('class', 'recognised', 'test images recognised'), rows)}"


def _truncation(metrics: Mapping[str, Any]) -> str:
    whole = {name: metrics[name] for name in ("frechet_distance", "density", "coverage")}
    accuracy = metrics.get("conditional_accuracy")
    found = {**metrics["truncated"], "1": {"conditional_accuracy": accuracy, **whole}}
    rows = [
        (
            truncation,
            "" if accuracy is None else f"{values['conditional_accuracy']:.2%}",
            *(f"{values[name]:.4f}" for name in whole),
        )
        for truncation, values in found.items()
    ]
    header = ("truncation", "recognised", "Fréchet distance", "density", "coverage")
    return f"\n\nLess truncation is more typical and less diverse:\n\n{make_table(header, rows)}"


def _remedies(results: Mapping[str, Manifest]) -> tuple[str, ...]:
    table = compare(results)
    if not table:
        return ()
    reference = results[REFERENCE]
    epochs, data = reference.provenance.settings["epochs"], reference.provenance.data
    return (
        "## Remedies\n\nWhat is done against instability and mode collapse, changed one at a time in short trainings "
        f"({epochs} epochs of {data.train_examples:,} images of `{data.name}`, a network of width "
        f"{reference.provenance.settings['width']}, seed {reference.provenance.seed}). So early in a training, and "
        f"with a judge that has learnt as little, the figures compare with each other alone:\n\n{table}",
    )


def _latent_space(manifest: Manifest) -> str:
    return (
        f"## From one seed to another\n\nThe noise of seed {FROM_SEED} turned step by step into that of seed "
        f"{TO_SEED}, for {'each label' if len(manifest.labels) > 1 else 'its label'}:\n\n"
        "![Images between two seeds](interpolations.png)"
    )


def _memorisation(manifest: Manifest) -> str:
    return (
        "## Repetition and memorisation\n\nNearest neighbours pixel by pixel. Of real test images, 1% are nearer to "
        "another one, or to a training image, by definition of the bound.\n\n"
        f"{make_figure_table(manifest.metrics, TWINS)}\n\n"
        "![Generated images beside their nearest training images](neighbours.png)"
    )


def _limits(manifest: Manifest) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    pixels = find_preprocessing(manifest, ImagePreprocessing)
    lines = [
        f"- An image has {pixels.width} x {pixels.height} pixels and shows one thing, as the training images do.",
        "- The judge is a classifier with mistakes of its own: what fools it counts as recognised.",
        "- Nothing bounds what an image tells about a training image; the figures above say how near they come.",
        "- What the training images leave out, or show in an unjust way, these leave out and show likewise.",
    ]
    if "per_class" in metrics:
        worst, share = min(metrics["per_class"].items(), key=lambda item: float(item[1]["recognised"]))
        lines.insert(
            1, f"- It is not equally good at all classes: {share['recognised']:.1%} of {worst} are recognised."
        )
    return "## Limits\n\n" + "\n".join(lines)
