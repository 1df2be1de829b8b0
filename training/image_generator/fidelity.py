"""How far two sets of images lie apart, by their features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating[Any]]

ROWS = 1000  # of distances computed at a time


@dataclass(frozen=True)
class Manifold:
    """How well generated images cover real ones, and real ones generated ones."""

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(first: Floats, second: Floats) -> float:
    """The Fréchet distance of two normal distributions with the means and covariances of (rows, features).

    Source: Heusel et al. 2017, arXiv 1706.08500, equation 6; here not in the features of an Inception net, so that
    figures compare with others of the same features alone.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    means = first.mean(axis=0) - second.mean(axis=0)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # The root of the product has the trace of the root of this symmetric matrix, which is like it.
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    return max(0.0, float(means @ means + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared))


def measure_manifold(real: Floats, generated: Floats, neighbours: int = 5) -> Manifold:
    """Precision, recall, density and coverage of features (rows, features).

    A point's ball reaches to its ``neighbours``-th nearest neighbour of its own set. Precision and recall are the
    shares that lie in a ball of the other set (Kynkäänniemi et al. 2019, arXiv 1904.06991); density counts the balls
    of real points that a generated one lies in, and coverage the real points whose ball holds a generated one (Naeem
    et al. 2020, arXiv 2002.09797). Two samples of one distribution have a density of 1.
    """
    real_points, generated_points = (torch.from_numpy(np.ascontiguousarray(part)).float() for part in (real, generated))
    real_radii, generated_radii = (_radii(points, neighbours) for points in (real_points, generated_points))
    inside = torch.zeros(len(generated_points))  # balls of real points that hold a generated one
    recalled = torch.zeros(len(real_points), dtype=torch.bool)
    covered = torch.zeros(len(real_points), dtype=torch.bool)
    for start in range(0, len(real_points), ROWS):
        rows = slice(start, start + ROWS)
        distances = torch.cdist(real_points[rows], generated_points)  # (rows, generated)
        within = distances < real_radii[rows, None]
        inside += within.sum(dim=0)
        covered[rows] = within.any(dim=1)
        recalled[rows] = (distances < generated_radii).any(dim=1)
    return Manifold(
        precision=float((inside > 0).float().mean()),
        recall=float(recalled.float().mean()),
        density=float(inside.mean() / neighbours),
        coverage=float(covered.float().mean()),
    )


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """The distance of each point to its ``neighbours``-th nearest other one, (rows,)."""
    parts = [
        torch.cdist(part, points).kthvalue(neighbours + 1, dim=1).values
        for part in points.split(ROWS)  # type: ignore[no-untyped-call]
    ]
    return torch.cat(parts)
