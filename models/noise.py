"""Random numbers that can be had again: NumPy's PCG64, from a request's seed. Training and service both call this."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Drawn at a time. It decides nothing: numbers drawn in parts are those drawn at once.
_ROWS: Final = 64
# Below this angle between them, two points are as good as one, and the way between them is straight.
_SMALL_ANGLE: Final = 1e-6


def draw_normal(seed: int, rows: int, size: int) -> Iterator[NDArray[np.float32]]:
    """Standard normal numbers, (size,) for each row: those of ``Generator(PCG64(seed)).standard_normal``, in order."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, rows, _ROWS):
        yield from generator.standard_normal((min(_ROWS, rows - start), size), dtype=np.float32)


def draw_uniform(seed: int, rows: int) -> Iterator[float]:
    """A number between 0 and 1 for each row: those of ``Generator(PCG64([seed, 1])).random``, in order."""
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    for start in range(0, rows, _ROWS):
        yield from generator.random(min(_ROWS, rows - start)).tolist()


def interpolate(first: NDArray[np.float32], last: NDArray[np.float32], steps: int) -> Iterator[NDArray[np.float32]]:
    """Points from ``first`` to ``last``, both among them, on the arc between them: (size,) each.

    Normal noise of many dimensions lies near a sphere, and so do the points of an arc, but not those of a straight
    line. Source: Shoemake 1985, "Animating rotation with quaternion curves".
    """
    start, end = first.astype(np.float64), last.astype(np.float64)
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    angle = float(np.arccos(np.clip(start @ end / lengths, -1, 1))) if lengths else 0.0
    for step in range(steps):
        share = step / (steps - 1)
        if min(angle, np.pi - angle) < _SMALL_ANGLE:
            weights = (1 - share, share)
        else:
            weights = (np.sin((1 - share) * angle) / np.sin(angle), np.sin(share * angle) / np.sin(angle))
        yield (weights[0] * start + weights[1] * end).astype(np.float32)
