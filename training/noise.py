"""The noise of the service's requests, as arrays."""

import numpy as np
from numpy.typing import NDArray

from models import noise

Floats = NDArray[np.float32]


def draw_noise(seed: int, rows: int, size: int) -> Floats:
    """Standard normal numbers (rows, size), row after row: fewer rows are the beginning of more."""
    return np.stack(list(noise.draw_normal(seed, rows, size)))


def draw_chances(seed: int, rows: int) -> NDArray[np.float64]:
    """A number between 0 and 1 for each row, (rows,)."""
    return np.array(list(noise.draw_uniform(seed, rows)))


def interpolate(start: Floats, end: Floats, steps: int) -> Floats:
    """Noise (steps, size) on the arc from ``start`` to ``end``, (size,) each, both included."""
    return np.stack(list(noise.interpolate(start, end, steps)))
