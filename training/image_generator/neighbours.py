"""The nearest neighbours of images, pixel by pixel."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.images import Images, Labels

ROWS = 500  # of distances computed at a time


class Neighbours(NamedTuple):
    """Of each image: how far its nearest neighbour is, in levels (root of the mean square), and which it is."""

    distances: NDArray[np.float64]
    places: Labels


def find_nearest(images: Images, among: Images) -> Neighbours:
    """The nearest neighbour of each of ``images`` in ``among``; an image that is there too finds itself.

    Args:
        images: (rows, height, width, channels).
        among: (others, height, width, channels).
    """
    return _search(images, among, itself=True)


def find_nearest_others(images: Images) -> Neighbours:
    """The nearest neighbour of each of ``images`` among the others of them."""
    return _search(images, images, itself=False)


def _search(images: Images, among: Images, *, itself: bool) -> Neighbours:
    queries, candidates = (torch.from_numpy(part.reshape(len(part), -1)) for part in (images, among))
    lengths = candidates.float().square().sum(dim=1)
    places = torch.empty(len(queries), dtype=torch.int64)
    for start in range(0, len(queries), ROWS):
        part = queries[start : start + ROWS].float()
        # The square of the distance, without the query's own length, which changes no order.
        distances = torch.addmm(lengths, part, candidates.float().T, alpha=-2)
        if not itself:
            own = torch.arange(len(part))
            distances[own, own + start] = torch.inf
        places[start : start + ROWS] = distances.argmin(dim=1)
    chosen = places.numpy()
    differences = images.reshape(len(images), -1).astype(np.float64) - among.reshape(len(among), -1)[chosen]
    return Neighbours(np.sqrt(np.square(differences).mean(axis=1)), chosen)
