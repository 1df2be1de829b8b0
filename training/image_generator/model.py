"""The networks: generators from latents and a label to an image, discriminators from an image and a label to a score.

Images are (batch, channels, side, side) from -1 to 1, latents (batch, latents), labels (batch,).
"""

# ruff: noqa: D102 - forward is described by its class, the properties of NetworkSettings by Config

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.errors import SettingError

SMALLEST_START = 4
LABEL_WIDTH = 32
LEAK = 0.2
DROPOUT = 0.3
EMBEDDING_DEVIATION = 0.02  # of Radford et al. 2016 (arXiv 1511.06434), section 4, for all weights of dcgan


class NetworkSettings(Protocol):
    """What of a Config decides the networks."""

    @property
    def architecture(self) -> str: ...

    @property
    def latents(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def loss(self) -> str: ...

    @property
    def spectral_norm(self) -> bool: ...


class Shape(NamedTuple):
    """What the networks are made for."""

    channels: int
    side: int
    classes: int


class Verdict(NamedTuple):
    """What a discriminator says: how real, by which features, and of which class."""

    score: Tensor  # (batch,)
    features: Tensor  # (batch, features)
    class_logits: Tensor  # (batch, classes)


def build_generator(settings: NetworkSettings, shape: Shape) -> nn.Module:
    """The generator that ``settings`` name: forward(z, label) -> images.

    Raises:
        SettingError: the images have a side that the network cannot reach by doubling.
    """
    if settings.architecture == "mlp":
        return DenseGenerator(shape, settings.latents)
    kind = ResidualGenerator if settings.architecture == "sngan" else ConvolutionalGenerator
    return kind(shape, settings.latents, settings.width)


def build_discriminator(settings: NetworkSettings, shape: Shape) -> nn.Module:
    """The discriminator that ``settings`` name: forward(images, label) -> :class:`Verdict`.

    Its ``shares_statistics`` says whether what it says of an image depends on the others of the batch.

    Raises:
        SettingError: as for :func:`build_generator`.
    """
    bound: Bound = spectral_norm if settings.spectral_norm else _unbound
    if settings.architecture == "mlp":
        return DenseDiscriminator(shape, bound)
    if settings.architecture == "sngan":
        return ResidualDiscriminator(shape, settings.width, bound)
    # A penalty on the gradient of each image's score has no meaning where a batch shares its statistics
    # (Gulrajani et al. 2017, arXiv 1704.00028, section 4).
    batch_norm = not settings.spectral_norm and settings.loss != "wgan-gp"
    return ConvolutionalDiscriminator(shape, settings.width, bound, batch_norm=batch_norm)


Bound = Callable[[nn.Module], nn.Module]  # what keeps a layer's gain in bounds


class Dense(nn.Linear):
    """A linear layer whose answer for a row does not depend on how many rows there are, not in the last bit.

    A product of matrices adds up in another order where it has one row, so in evaluation the layer is a convolution
    of an image of one pixel, which runtimes compute for each image alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        return F.conv2d(x[:, :, None, None], self.weight[:, :, None, None], self.bias).flatten(1)


class Condition(nn.Module):
    """Latents beside what stands for the label: (batch, latents), (batch,) -> (batch, latents + 32)."""

    def __init__(self, latents: int, classes: int) -> None:
        super().__init__()
        self.width = latents + LABEL_WIDTH
        self.labels = nn.Embedding(classes, LABEL_WIDTH)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return torch.cat((z, self.labels(label)), dim=1)


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and bias follow from label and latents.

    Of the label: Dumoulin et al. 2017 (arXiv 1610.07629). Of the latents too: Chen et al. 2019 (arXiv 1810.01365),
    and Brock et al. 2019 (arXiv 1809.11096).
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain_and_bias = Dense(condition, 2 * channels)
        nn.init.normal_(self.gain_and_bias.weight, std=EMBEDDING_DEVIATION)
        nn.init.zeros_(self.gain_and_bias.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = self.gain_and_bias(condition)[:, :, None, None].chunk(2, dim=1)
        return self.norm(x) * (1 + gain) + bias  # type: ignore[no-any-return]


class ResidualUp(nn.Module):
    """Doubles the side: (batch, in, side, side) -> (batch, out, 2 side, 2 side).

    The first convolution stands before the doubling, where it costs a quarter.
    """

    def __init__(self, in_channels: int, out_channels: int, condition: int) -> None:
        super().__init__()
        self.first_norm = ConditionalNorm(in_channels, condition)
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.second_norm = ConditionalNorm(out_channels, condition)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        residual = self.first(F.relu(self.first_norm(x, condition)))
        residual = self.second(_double(F.relu(self.second_norm(residual, condition))))
        return residual + _double(self.shortcut(x))  # type: ignore[no-any-return]


class ResidualGenerator(nn.Module):
    """A dense layer, a residual block for each doubling, a convolution, tanh.

    As in Miyato et al. 2018 (arXiv 1802.05957), table 4, with a condition in every norm.
    """

    def __init__(self, shape: Shape, latents: int, width: int) -> None:
        super().__init__()
        self.latents = latents
        self.start, doublings = _start(shape.side)
        widths = [2 * width] * doublings + [width]
        self.condition = Condition(latents, shape.classes)
        self.dense = Dense(self.condition.width, widths[0] * self.start**2)
        self.blocks = nn.ModuleList(ResidualUp(wide, narrow, self.condition.width) for wide, narrow in pairwise(widths))
        self.norm = nn.BatchNorm2d(width)
        self.pixels = nn.Conv2d(width, shape.channels, 3, padding=1)
        _initialise(nn.init.xavier_uniform_, (self.dense, self.pixels, *_convolutions(self.blocks)))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        condition = self.condition(z, label)
        x = self.dense(condition).unflatten(1, (-1, self.start, self.start))
        for block in self.blocks:
            x = block(x, condition)
        return torch.tanh(self.pixels(F.relu(self.norm(x))).float())


class ConvolutionalGenerator(nn.Module):
    """A dense layer, a transposed convolution for each doubling, each with batch norm, tanh (Radford et al. 2016)."""

    def __init__(self, shape: Shape, latents: int, width: int) -> None:
        super().__init__()
        self.latents = latents
        self.start, doublings = _start(shape.side)
        widths = [width * 2**level for level in reversed(range(doublings))]
        self.condition = Condition(latents, shape.classes)
        self.dense = Dense(self.condition.width, widths[0] * self.start**2)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for wide, narrow in pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], shape.channels, 4, 2, 1))
        _initialise(_normal, (self.dense, *_convolutions(self.layers)))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        x = self.dense(self.condition(z, label)).unflatten(1, (-1, self.start, self.start))
        return torch.tanh(self.layers(x).float())


class DenseGenerator(nn.Module):
    """latents-256-512-1024-pixels with leaky rectifiers, tanh: the textbook's first generator."""

    def __init__(self, shape: Shape, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.shape = (shape.channels, shape.side, shape.side)
        self.condition = Condition(latents, shape.classes)
        layers: list[nn.Module] = []
        for inputs, outputs in ((self.condition.width, 256), (256, 512), (512, 1024)):
            layers += [Dense(inputs, outputs), nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers, Dense(1024, shape.channels * shape.side**2))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(self.layers(self.condition(z, label)).float()).view(-1, *self.shape)


class Head(nn.Module):
    """From features to a verdict; the label enters by projection (Miyato and Koyama 2018, arXiv 1802.05637)."""

    def __init__(self, features: int, classes: int, bound: Bound) -> None:
        super().__init__()
        self.score = bound(nn.Linear(features, 1))
        self.projection = bound(nn.Embedding(classes, features))
        self.classes = nn.Linear(features, classes)

    def forward(self, features: Tensor, label: Tensor) -> Verdict:
        score = self.score(features).squeeze(1) + (self.projection(label) * features).sum(dim=1)
        return Verdict(score.float(), features.float(), self.classes(features).float())


class ResidualDown(nn.Module):
    """Halves the side if ``halve``: (batch, in, side, side) -> (batch, out, side // 2, side // 2)."""

    def __init__(self, channels: tuple[int, int, int], bound: Bound, *, halve: bool, first: bool = False) -> None:
        super().__init__()
        before, inside, after = channels
        self.first = bound(nn.Conv2d(before, inside, 3, padding=1))
        self.second = bound(nn.Conv2d(inside, after, 3, padding=1))
        self.shortcut = bound(nn.Conv2d(before, after, 1)) if before != after else nn.Identity()
        self.activation = nn.Identity() if first else nn.ReLU()
        self.shrink = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(F.relu(self.first(self.activation(x))))
        return self.shrink(residual) + self.shortcut(self.shrink(x))  # type: ignore[no-any-return]


class ResidualDiscriminator(nn.Module):
    """A residual block for each halving and one more, sums over places (Miyato et al. 2018, table 4)."""

    shares_statistics = False

    def __init__(self, shape: Shape, width: int, bound: Bound) -> None:
        super().__init__()
        _, halvings = _start(shape.side)
        blocks = [ResidualDown((shape.channels, width // 2, width), bound, halve=True, first=True)]
        before = width
        for _ in range(halvings - 1):
            blocks.append(ResidualDown((before, before, 2 * width), bound, halve=True))
            before = 2 * width
        self.blocks = nn.Sequential(*blocks, ResidualDown((before, before, before), bound, halve=False), nn.ReLU())
        self.head = Head(before, shape.classes, bound)

    def forward(self, images: Tensor, label: Tensor) -> Verdict:
        return self.head(self.blocks(images).sum(dim=(2, 3)), label)  # type: ignore[no-any-return]


class ConvolutionalDiscriminator(nn.Module):
    """A strided convolution with a leaky rectifier for each halving (Radford et al. 2016)."""

    def __init__(self, shape: Shape, width: int, bound: Bound, *, batch_norm: bool) -> None:
        super().__init__()
        self.shares_statistics = batch_norm
        start, halvings = _start(shape.side)
        layers: list[nn.Module] = []
        before = shape.channels
        for level in range(halvings):
            after = width * 2**level
            layers.append(bound(nn.Conv2d(before, after, 4, 2, 1)))
            layers += [nn.BatchNorm2d(after)] * (batch_norm and level > 0)
            layers.append(nn.LeakyReLU(LEAK))
            before = after
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = Head(before * start**2, shape.classes, bound)
        if bound is _unbound:
            for layer in (*_convolutions(self.layers), self.head.score, self.head.projection):
                _normal(layer.weight)  # type: ignore[arg-type]

    def forward(self, images: Tensor, label: Tensor) -> Verdict:
        return self.head(self.layers(images), label)  # type: ignore[no-any-return]


class DenseDiscriminator(nn.Module):
    """pixels-1024-512-256 with leaky rectifiers and dropout: the textbook's first discriminator."""

    shares_statistics = False

    def __init__(self, shape: Shape, bound: Bound) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in ((shape.channels * shape.side**2, 1024), (1024, 512), (512, 256)):
            layers += [bound(nn.Linear(inputs, outputs)), nn.LeakyReLU(LEAK), nn.Dropout(DROPOUT)]
        self.layers = nn.Sequential(*layers)
        self.head = Head(256, shape.classes, bound)

    def forward(self, images: Tensor, label: Tensor) -> Verdict:
        return self.head(self.layers(images), label)  # type: ignore[no-any-return]


def _unbound(layer: nn.Module) -> nn.Module:
    return layer


def _start(side: int) -> tuple[int, int]:
    """The side of the smallest picture that doubles to ``side``, of four pixels at least, and how many times."""
    start, doublings = side, 0
    while start % 2 == 0 and start // 2 >= SMALLEST_START:
        start, doublings = start // 2, doublings + 1
    if not doublings:
        raise SettingError(f"size: {side} is not the double of {SMALLEST_START} or more, expected 28, 32 or 64, say")
    return start, doublings


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _convolutions(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]


def _normal(weight: Tensor) -> Tensor:
    return nn.init.normal_(weight, std=EMBEDDING_DEVIATION)


def _initialise(draw: Callable[[Tensor], Tensor], layers: tuple[nn.Module, ...]) -> None:
    for layer in layers:
        draw(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
