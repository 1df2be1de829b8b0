"""Whether a training is still on its way: what is measured after each epoch, and when to stop with a reason."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.errors import DivergenceError
from training.image_generator.fidelity import frechet_distance
from training.image_generator.judge import Reading, accuracy
from training.images import Labels

Features = NDArray[np.float32]  # (images, features)

# A class whose images differ this much less than real ones shows one picture. Healthy trainings stay above a half.
COLLAPSED_DIVERSITY = 0.05
# How many times the least distance so far, and then only past the spread of real images: there one mean image would
# be nearer to them.
DIVERGED_RISE = 2.0
EPOCHS_TO_BE_SURE = 3
TINY = 1e-12


def watch(real: Reading, real_labels: Labels, generated: Reading, labels: Labels) -> dict[str, float]:
    """What is recorded of an epoch's images beside real ones, both with their labels."""
    diversities = measure_diversity(real.features, real_labels, generated.features, labels)
    return {
        "validation_frechet_distance": frechet_distance(real.features, generated.features),
        "validation_spread": float(real.features.var(axis=0, dtype=np.float64).sum()),
        "validation_accuracy": accuracy(generated, labels),
        "validation_diversity": float(diversities.mean()),
        "least_diverse_class": float(diversities.argmin()),
        "least_diversity": float(diversities.min()),
        "classes_missing": float(count_missing(generated, labels)),
    }


def measure_diversity(
    real: Features,
    real_labels: Labels,
    generated: Features,
    labels: Labels,
) -> NDArray[np.float64]:
    """How much features (rows, features) vary within each class, as a share of how much they do in real images."""

    def spread(features: Features, chosen: NDArray[np.bool_]) -> float:
        return float(np.sqrt(features[chosen].var(axis=0, dtype=np.float64).sum()))

    classes = np.unique(real_labels)
    return np.array(
        [spread(generated, labels == index) / max(spread(real, real_labels == index), TINY) for index in classes]
    )


def count_missing(generated: Reading, labels: Labels) -> int:
    """How many of the labels that were asked for the judge finds in none of the images."""
    return len(set(np.unique(labels)) - set(np.unique(generated.classes)))


def check_health(history: Sequence[dict[str, float]], names: Sequence[str]) -> None:
    """Stop a training that brings nothing any more.

    Args:
        history: the record of each epoch so far.
        names: of the classes.

    Raises:
        DivergenceError: a class shows one picture, or the images have got far worse than they were, for three epochs.
    """
    last = history[-EPOCHS_TO_BE_SURE:]
    if len(last) < EPOCHS_TO_BE_SURE:
        return
    if all(record["least_diversity"] < COLLAPSED_DIVERSITY for record in last):
        record = last[-1]
        raise DivergenceError(
            f"the training has collapsed in epoch {record['epoch']:.0f}: images of "
            f"'{names[int(record['least_diverse_class'])]}' differ {record['least_diversity']:.1%} as much as real "
            f"ones, expected {COLLAPSED_DIVERSITY:.0%} or more; try spectral_norm, another loss or a lower "
            f"discriminator_learning_rate"
        )
    best = min(record["validation_frechet_distance"] for record in history)
    if all(
        record["validation_frechet_distance"] > max(DIVERGED_RISE * best, record["validation_spread"])
        for record in last
    ):
        record = last[-1]
        raise DivergenceError(
            f"the training has diverged in epoch {record['epoch']:.0f}: the Fréchet distance is "
            f"{record['validation_frechet_distance']:.3g} and was {best:.3g}, real images spread "
            f"{record['validation_spread']:.3g}; try lower learning rates"
        )
