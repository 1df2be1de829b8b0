"""A mirrored network learns in half of the multiplications.

What a channel and its partner find is taken as their sum, which is even under mirroring, and their difference, which is
odd. A filter from even to even is then its own mirror image, and one from odd to even the negative of its own (Cohen
and Welling 2017, arXiv 1612.08498): its left and right columns share their weights, so that the sum or the difference
of the left and the right neighbour takes the place of both. What is left are 3x1 filters over three planes in place of
3x3 filters, for the even and for the odd half of the channels each: half as many multiplications. The answers are the
same but for rounding.

Making the planes takes PyTorch as long as it saves in multiplications; compiled, a third of that.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

if TYPE_CHECKING:
    from training.image_classifier.model import ResidualGroup, ResidualNet

# Of the first partners and of the second, or the even and the odd part, each (height, batch, width, pairs): filters
# that see columns alone take all rows of a batch for one wide picture.
Halves = tuple[Tensor, Tensor]


def answer(network: "ResidualNet", images: Tensor) -> Tensor:
    """What a mirrored ``network`` that learns answers to ``images`` (batch, channels, height, width): its logits."""
    first, *others = cast("list[ResidualGroup]", list(network.groups))
    # As it is: of few channels the planes cost more than half of the multiplications.
    x = first.pool(first.shrink(network.activation(network.whiten(images))))
    if x.requires_grad:
        x.register_hook(_lay_out)
    halves = _finish(
        first, _normalise_and_activate(_halve(x.permute(2, 0, 3, 1), 3), _layer(first.shrink_norm, first.activation))
    )
    for group in others:
        halves = _finish(
            group, _join_and_pool(convolve(halves, group.shrink.weight), _layer(group.shrink_norm, group.activation))
        )
    features = torch.cat([half.amax((0, 2)) for half in halves], 1)
    return network.head(network.dropout(features)) * network.logit_scale  # type: ignore[no-any-return]


def convolve(halves: Halves, filters: Tensor) -> Halves:
    """The even and the odd part of what ``filters`` (out, in, 3, 3), held to mirroring, answer to first and second."""
    even, odd = (
        _convolve_columns(planes, part.to(planes.dtype))
        for planes, part in zip(_make_planes(halves), split_filters(filters), strict=True)
    )
    return even, odd


def split_filters(filters: Tensor) -> tuple[Tensor, Tensor]:
    """The filters of the even and of the odd part of an answer, each (out / 2, 3 * in / 2, 3, 1).

    The first look at sums of partners, at what is left and right of these, and at differences left and right; the
    second likewise at differences, beside differences, and beside sums.

    Args:
        filters: (out, in, 3, 3), held to mirroring: those of the first partners say all.
    """
    own, other = _halve(_halve(filters, 0)[0], 1)
    even, odd = (own + other.flip(3)) / 2, (own - other.flip(3)) / 2
    return _share_sides(even), _share_sides(odd)


def _share_sides(filters: Tensor) -> Tensor:
    """(out, in, 3, 3) -> (out, 3 * in, 3, 1): the middle column, half of both sides, half of their difference."""
    left, centre, right = filters[..., :1], filters[..., 1:2], filters[..., 2:]
    return torch.cat((centre, (left + right) / 2, (left - right) / 2), 1)


class _Layer(NamedTuple):
    """What follows a convolution: a batch norm and a non-linearity."""

    mean: Tensor
    variance: Tensor
    bias: Tensor
    momentum: float
    epsilon: float
    activation: Callable[[Tensor], Any]


def _layer(norm: nn.BatchNorm2d, activation: nn.Module) -> _Layer:
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None  # noqa: PT018, S101
    return _Layer(norm.running_mean, norm.running_var, norm.bias, norm.momentum, norm.eps, activation)


def _finish(group: "ResidualGroup", x: Halves) -> Halves:
    """Add what a group adds to its shrunk picture."""
    residual = _join(convolve(x, group.first.weight), _layer(group.first_norm, group.activation))
    return _join_and_add(convolve(residual, group.second.weight), x, _layer(group.second_norm, group.activation))


@torch.compile(dynamic=False)
def _make_planes(halves: Halves) -> Halves:
    """What the even and the odd part of a convolution look at, (height, batch, width, 3 * pairs) each."""
    first, second = halves
    (left, right), (second_left, second_right) = ((_shift(half, 1), _shift(half, -1)) for half in halves)
    beside, second_beside = left + right, second_left + second_right
    across, second_across = left - right, second_left - second_right
    return (
        torch.cat((first + second, beside + second_beside, across - second_across), 3),
        torch.cat((first - second, beside - second_beside, across + second_across), 3),
    )


@torch.compile(dynamic=False)
def _normalise_and_activate(halves: Halves, layer: _Layer) -> Halves:
    first, second = _normalise(halves, layer)
    return layer.activation(first), layer.activation(second)


@torch.compile(dynamic=False)
def _join(parts: Halves, layer: _Layer) -> Halves:
    return _normalise_and_activate(_to_partners(parts), layer)


@torch.compile(dynamic=False)
def _join_and_add(parts: Halves, halves: Halves, layer: _Layer) -> Halves:
    first, second = _normalise(_to_partners(parts), layer)
    return layer.activation(halves[0] + first), layer.activation(halves[1] + second)


@torch.compile(dynamic=False)
def _join_and_pool(parts: Halves, layer: _Layer) -> Halves:
    first, second = _to_partners(parts)
    return _normalise_and_activate((_pool(first), _pool(second)), layer)


def _to_partners(parts: Halves) -> Halves:
    even, odd = parts
    return even + odd, even - odd


def _normalise(halves: Halves, layer: _Layer) -> Halves:
    """Batch norm of each channel, its statistics brought up to date."""
    of_halves = zip(*(_halve(values, 0) for values in (layer.mean, layer.variance, layer.bias)), strict=True)
    first, second = (
        F.batch_norm(half.flatten(0, 2), mean, variance, None, bias, True, layer.momentum, layer.epsilon).view_as(half)
        for half, (mean, variance, bias) in zip(halves, of_halves, strict=True)
    )
    return first, second


def _pool(half: Tensor) -> Tensor:
    """As :class:`~training.image_classifier.symmetry.SymmetricPool`, (height, batch, width, pairs)."""
    height, width = half.shape[0] // 2 * 2, half.shape[2]
    rows = torch.maximum(half[0:height:2], half[1:height:2])
    columns = torch.maximum(rows[:, :, 0 : width // 2 * 2 : 2], rows[:, :, 1::2])
    return torch.maximum(columns, rows[:, :, 2::2]) if width % 2 else columns


def _convolve_columns(planes: Tensor, filters: Tensor) -> Tensor:
    """(height, batch, width, planes) by filters (out, planes, 3, 1), zeros above and below."""
    picture = planes.flatten(1, 2)[None].permute(0, 3, 1, 2)  # in channels-last memory
    return F.conv2d(picture, filters, padding=(1, 0)).permute(0, 2, 3, 1).reshape(*planes.shape[:3], -1)


def _shift(half: Tensor, by: int) -> Tensor:
    """Every column ``by`` one to the right (1) or to the left (-1); zeros come in."""
    zeros = torch.zeros_like(half[:, :, :1])
    return torch.cat((zeros, half[:, :, :-1]) if by > 0 else (half[:, :, 1:], zeros), 2)


def _halve(values: Tensor, dimension: int) -> Halves:
    """Of the first partners and of the second, which follow them."""
    first, second = values.chunk(2, dimension)
    return first, second


def _lay_out(gradient: Tensor) -> Tensor:
    """The way that pooling takes it without making a copy of all that it pooled."""
    return gradient.contiguous(memory_format=torch.channels_last)
