"""How good generated images are: what the exported graph makes, beside the test split, by the judge and by pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import JsonValue

from training.image_generator.fidelity import frechet_distance, measure_manifold
from training.image_generator.judge import Judge, Reading, Recipe, accuracy, read, train_judge
from training.image_generator.neighbours import find_nearest, find_nearest_others
from training.image_generator.sampling import Sampler
from training.image_generator.watch import count_missing, measure_diversity
from training.images import ImageData, Images, Labels, Split
from training.metrics import DECIMALS

if TYPE_CHECKING:
    from training.image_generator.train import Config

Rows = NDArray[np.int64]

MAX_COMPARED = 10_000  # images whose features are compared
MAX_SEARCHED = 5_000  # images whose nearest neighbours are searched
TRUNCATIONS = (0.5, 0.7, 0.85)
# Two images are as good as one where they lie nearer than all but this share of real images do.
TWIN_QUANTILE = 0.01


@dataclass(frozen=True)
class Measurements:
    """The metrics of a manifest, and what a card draws from them."""

    metrics: Mapping[str, JsonValue]
    generated: Images  # (images, height, width, channels), for the labels of the test split
    labels: Labels
    nearest: Rows  # of the first of them, the nearest training image of each


def measure(
    config: "Config", data: ImageData, judge: Judge, sampler: Sampler, accelerator: Accelerator
) -> Measurements:
    """Measure what the exported graph makes. The test split is the yardstick, and nothing is chosen by it.

    Args:
        config: its seed decides the noise; the classifiers are trained as it says.
        data: training and test split.
        judge: has learnt the training split.
        sampler: the exported graph.
        accelerator: what a classifier is trained on.
    """
    random = np.random.default_rng(config.seed)
    compared = np.sort(random.permutation(len(data.test))[:MAX_COMPARED])
    test = data.test.take(compared)
    trained = np.sort(random.permutation(len(data.train))[:MAX_COMPARED])
    train = data.train.take(trained)
    generated = sampler.sample(config.seed, test.labels)
    reading, real, before = (read(judge, images) for images in (generated, test.images, train.images))
    nearest = find_nearest(generated[:MAX_SEARCHED], data.train.images)
    metrics: dict[str, Any] = {
        **(_measure_classes(config, data, reading, real, test, sampler, accelerator) if len(data.labels) > 1 else {}),
        **_measure_features(reading, real, before, test.labels),
        **_measure_twins(generated, test.images, data.train.images, nearest.distances, random),
        "truncated": _measure_truncation(config, judge, sampler, real, test.labels),
        "images_compared": len(test),
    }
    return Measurements(
        metrics={name: _round(value) for name, value in metrics.items()},
        generated=generated,
        labels=test.labels,
        nearest=nearest.places,
    )


def _measure_classes(
    config: "Config",
    data: ImageData,
    reading: Reading,
    real: Reading,
    test: Split,
    sampler: Sampler,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Whether images show what they were asked for, and whether a classifier can learn from them.

    The latter is the classification accuracy score of Ravuri and Vinyals 2019, arXiv 1905.10887: the classifier learns
    as many generated images as there are training images, with the same labels, and is tested on real ones. Beside it
    stands what the same classifier reaches that learnt the training images themselves.
    """
    recipe = Recipe(config.score_epochs, config.score_flip, config.score_label_smoothing)

    def score(images: Images) -> float:
        learnt = train_judge(Split(images, data.train.labels), len(data.labels), recipe, config.seed, accelerator)
        return accuracy(read(learnt, data.test.images), data.test.labels)

    return {
        "conditional_accuracy": accuracy(reading, test.labels),
        "conditional_accuracy_of_test_images": accuracy(real, test.labels),
        "classification_accuracy_score": score(sampler.sample(config.seed + 1, data.train.labels)),
        "classification_accuracy_score_of_training_images": score(data.train.images),
        "classes_missing": count_missing(reading, test.labels),
        "per_class": {
            name: {
                "recognised": _round((reading.classes == index)[test.labels == index].mean()),
                "recognised_of_test_images": _round((real.classes == index)[test.labels == index].mean()),
            }
            for index, name in enumerate(data.labels)
        },
    }


def _measure_features(reading: Reading, real: Reading, before: Reading, labels: Labels) -> dict[str, Any]:
    """Distances in the judge's features, with those of real training images from real test images beside them."""
    distance, floor = (frechet_distance(part.features, real.features) for part in (reading, before))
    manifold, ceiling = (measure_manifold(real.features, part.features) for part in (reading, before))
    diversities = measure_diversity(real.features, labels, reading.features, labels)
    return {
        "frechet_distance": distance,
        "frechet_distance_of_training_images": floor,
        "frechet_ratio": distance / floor,
        **vars(manifold),
        **{f"{name}_of_training_images": value for name, value in vars(ceiling).items()},
        "diversity": float(diversities.mean()),
        "least_diversity": float(diversities.min()),
    }


def _measure_twins(
    generated: Images,
    test: Images,
    train: Images,
    distances: NDArray[np.float64],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Whether generated images repeat each other, or training images: always beside what real images do.

    Args:
        generated: (images, height, width, channels).
        test: as many.
        train: all training images.
        distances: of generated images to their nearest training image.
        random: chooses among what is more than is searched.
    """
    count = min(len(generated), len(test), MAX_SEARCHED)
    chosen = np.sort(random.permutation(len(test))[:count])
    held_out = find_nearest(test[chosen], train).distances
    among_real, among_generated = (
        find_nearest_others(images).distances for images in (test[chosen], generated[:count])
    )
    return {
        "duplicates_share": float((among_generated == 0).mean()),
        "near_duplicates_share": float((among_generated < np.quantile(among_real, TWIN_QUANTILE)).mean()),
        "training_copies_share": float((distances < np.quantile(held_out, TWIN_QUANTILE)).mean()),
        "median_distance_to_training": float(np.median(distances)),
        "median_distance_of_test_images_to_training": float(np.median(held_out)),
    }


def _measure_truncation(
    config: "Config", judge: Judge, sampler: Sampler, real: Reading, labels: Labels
) -> dict[str, Any]:
    """What is given for what where noise is drawn towards its centre."""
    found = {}
    for truncation in TRUNCATIONS:
        reading = read(judge, sampler.sample(config.seed, labels, truncation))
        manifold = measure_manifold(real.features, reading.features)
        found[f"{truncation:g}"] = {
            "conditional_accuracy": _round(accuracy(reading, labels)),
            "frechet_distance": _round(frechet_distance(real.features, reading.features)),
            "density": _round(manifold.density),
            "coverage": _round(manifold.coverage),
        }
    return found


def _round(value: Any) -> Any:
    return round(float(value), DECIMALS) if isinstance(value, float | np.floating) else value
