"""Networks that give an image and its mirror image one answer.

The channels of a layer come in pairs: what one finds in an image, its partner finds in the mirror image, at the
mirrored place. A filter is therefore its partner's, turned round and with its inputs exchanged (the group convolution
of Cohen and Welling 2016, arXiv 1602.07576, for the group of one reflection). A network that is free learns to find
most things twice, looking left and looking right, and answers best as the mean over both; this one needs a single pass
for that.

All filters are kept, as that costs no more than in a network that is free, and are held to it by projection.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True, eq=False)
class Reflection:
    """How a tensor would be, were all that the network sees mirrored.

    Args:
        partners: of each channel along the first dimensions, (channels,) int64 each.
    """

    partners: tuple[Tensor, ...]

    def __call__(self, values: Tensor) -> Tensor:
        """Biases or statistics (channels,), a matrix (outputs, inputs) or filters (outputs, inputs, height, width)."""
        for dimension, partners in enumerate(self.partners):
            values = values.index_select(dimension, partners)
        return values.flip(3) if values.ndim == 4 else values


def pair_halves(channels: int, device: torch.device) -> Tensor:
    """The partner of each of so many channels, (channels,) int64: first all first ones, then in turn the second."""
    return torch.arange(channels, device=device).roll(channels // 2)


def pair_by_looks(filters: Tensor) -> Tensor:
    """The partners of ``filters`` (n, channels, height, width) of an image, whose second half is the first's negative.

    One that mirroring negates has its negative for a partner, and every other one itself.
    """
    places = torch.arange(len(filters), device=filters.device)
    negated = (filters * filters.flip(3)).sum((1, 2, 3)) < 0
    return torch.where(negated, (places + len(filters) // 2) % len(filters), places)


def straighten(filters: Tensor) -> Tensor:
    """Make each of ``filters`` (n, channels, height, width) its own mirror image, or the negative of it."""
    turned = filters.flip(3)
    signs = (filters * turned).sum((1, 2, 3), keepdim=True).sign()
    straight: Tensor = filters + signs * turned
    norms = [torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True) for values in (filters, straight)]
    return straight * norms[0] / norms[1]  # type: ignore[no-any-return]


def keep_symmetric(reflections: Iterable[tuple[Tensor, Reflection]], optimizers: list[Optimizer]) -> None:
    """Hold a network to its symmetry from here on: its weights now and after every step, and its gradients.

    Args:
        reflections: its parameters and statistics, each with how it looks in a mirror.
        optimizers: that change it.
    """
    tied = list(reflections)

    @torch.no_grad()
    def tie(*_: Any) -> None:
        for values, reflection in tied:
            values.lerp_(reflection(values), 0.5)

    tie()
    for values, reflection in tied:
        if values.requires_grad:
            values.register_hook(partial(_average, reflection))  # type: ignore[no-untyped-call]
    optimizers[-1].register_step_post_hook(tie)


def _average(reflection: Reflection, gradient: Tensor) -> Tensor:
    return gradient.lerp(reflection(gradient), 0.5)


class SymmetricPool(nn.Module):
    """Max-pooling by two whose windows look alike in a mirror: of an odd width each has three columns.

    (batch, channels, height, width) -> (batch, channels, height // 2, width // 2).
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - described by the class
        return F.max_pool2d(x, (2, 2 + x.shape[3] % 2), 2)
