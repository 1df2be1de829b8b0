"""Parts of labelled examples with the same mix of classes."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from training.errors import DataError

Rows = NDArray[np.int64]


def hold_out(labels: NDArray[np.int64], fraction: float, seed: int, what: str, examples: str) -> tuple[Rows, Rows]:
    """Cut a share off examples: the rows that are kept, and those that are held out, both in their order.

    Args:
        labels: (examples,) the class of each.
        fraction: the share that is held out.
        seed: decides which are.
        what: decides the fraction, for the error.
        examples: what they are, in the plural, likewise.

    Raises:
        DataError: there are too few to have some of each class on both sides.
    """
    count = round(fraction * len(labels))
    sizes = np.unique(labels, return_counts=True)[1]
    rarest, classes = int(sizes.min(initial=len(labels))), len(sizes)
    if rarest < 2 or not classes <= count <= len(labels) - classes:
        raise DataError(
            f"{what}: {count} of {len(labels)} {examples}, the rarest class has {rarest}: expected at least one of "
            f"each of {classes} classes on both sides"
        )
    kept, held_out = train_test_split(np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed)
    return np.sort(kept), np.sort(held_out)
