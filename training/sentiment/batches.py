"""Texts of like length go together, so that little of a batch is padding."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.text import TokenIds

# So many batches' worth of texts are sorted by length at a time: enough to waste little, and random all the same.
_SORTED_BATCHES = 50


def pad(texts: Sequence[TokenIds], padding: int = 0) -> Tensor:
    """The token ids of texts as one tensor, (batch, longest) int64, filled up behind with ``padding``."""
    ids = np.full((len(texts), max(map(len, texts))), padding, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return torch.from_numpy(ids)


def measure_lengths(texts: Sequence[TokenIds]) -> NDArray[np.int64]:
    """The tokens of each text, (texts,)."""
    return np.array([len(text) for text in texts])


def draw_batches(
    lengths: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """The rows of each batch of an epoch, in random order and of like length; every row once, the rest in the last."""
    order = generator.permutation(len(lengths))
    span = batch_size * _SORTED_BATCHES
    for begin in range(0, len(order), span):
        part = order[begin : begin + span]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches = [part[start : start + batch_size] for start in range(0, len(part), batch_size)]
        for place in generator.permutation(len(batches)):
            yield batches[place]


def sort_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """The rows of each batch from the shortest texts to the longest: for what does not learn."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
