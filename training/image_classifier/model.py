"""The networks. Each takes normalised images (batch, channels, height, width) and answers logits (batch, classes)."""

# ruff: noqa: D102 - forward is described by its class, the properties of NetworkSettings by Config

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, Self

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from training.errors import SettingError
from training.image_classifier.convolution import Convolution
from training.image_classifier.even_odd import answer
from training.image_classifier.symmetry import Reflection, SymmetricPool, pair_by_looks, pair_halves, straighten

Shape = tuple[int, int, int]  # (channels, height, width)

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class NetworkSettings(Protocol):
    """What of a Config decides the network."""

    @property
    def architecture(self) -> str: ...

    @property
    def activation(self) -> str: ...

    @property
    def initialisation(self) -> str: ...

    @property
    def dropout(self) -> float: ...

    @property
    def backbone(self) -> str: ...

    @property
    def weights(self) -> str: ...

    @property
    def frozen(self) -> bool: ...

    @property
    def mirrored(self) -> bool: ...

    @property
    def flip(self) -> bool: ...


def build_network(settings: NetworkSettings, shape: Shape, num_classes: int) -> nn.Module:
    """The network that ``settings`` name, for images of ``shape``.

    Raises:
        SettingError: the images are too small for it, or a file of weights is not of its backbone.
    """
    smallest = {"mlp": 1, "cnn": 18, "resnet": 16, "transfer": 32}[settings.architecture]
    if min(shape[1:]) < smallest:
        raise SettingError(
            f"image_size: {shape[1]}x{shape[2]} is too small for {settings.architecture}, expected {smallest} or more"
        )
    if settings.architecture == "resnet":
        mirrored = settings.mirrored and settings.flip
        return ResidualNet(shape, num_classes, settings.activation, settings.dropout, mirrored=mirrored)
    if settings.architecture == "transfer":
        return TransferNet(shape, num_classes, settings.backbone, settings.weights, settings.frozen)
    kind = MultilayerPerceptron if settings.architecture == "mlp" else ConvolutionalNet
    network = kind(shape, num_classes, settings.activation, settings.dropout)
    initialise(network, settings.initialisation)
    return network


class MultilayerPerceptron(nn.Sequential):
    """pixels-200-150-classes, the classic tutorial's net for CIFAR-10 with 3,072 pixels."""

    def __init__(self, shape: Shape, num_classes: int, activation: str, dropout: float) -> None:
        channels, height, width = shape
        super().__init__(
            nn.Flatten(),
            nn.Linear(channels * height * width, 200),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(200, 150),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(150, num_classes),
        )


class ConvolutionalNet(nn.Sequential):
    """Three 3x3 convolutions of 32, 64 and 64 filters and a dense layer of 64: 122,570 parameters on 32x32x3 and 10."""

    def __init__(self, shape: Shape, num_classes: int, activation: str, dropout: float) -> None:
        channels, height, width = shape
        final_height, final_width = (((side - 2) // 2 - 2) // 2 - 2 for side in (height, width))
        super().__init__(
            nn.Conv2d(channels, 32, 3),
            ACTIVATIONS[activation](),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            ACTIVATIONS[activation](),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3),
            ACTIVATIONS[activation](),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * final_height * final_width, 64),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(64, num_classes),
        )


class ResidualGroup(nn.Module):
    """Halves the picture, then adds a residual of two convolutions. (B, in, H, W) -> (B, out, H // 2, W // 2)."""

    def __init__(self, in_channels: int, out_channels: int, activation: str, mirrored: bool) -> None:
        super().__init__()
        self.shrink = Convolution(in_channels, out_channels)
        self.pool = SymmetricPool() if mirrored else nn.MaxPool2d(2)
        self.shrink_norm = _batch_norm(out_channels)
        self.first = Convolution(out_channels, out_channels)
        self.first_norm = _batch_norm(out_channels)
        self.second = Convolution(out_channels, out_channels)
        self.second_norm = _batch_norm(out_channels)
        self.activation = ACTIVATIONS[activation]()
        for convolution in (self.shrink, self.first, self.second):
            pass_on(convolution.weight, 2 if mirrored else 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.shrink_norm(self.pool(self.shrink(x))))
        residual = self.activation(self.first_norm(self.first(x)))
        return self.activation(x + self.second_norm(self.second(residual)))  # type: ignore[no-any-return]


class ResidualNet(nn.Module):
    """Whitened 2x2 patches, three residual groups, max-pooling over what is left, one linear layer.

    The structure of the airbench nets (Jordan 2024, arXiv 2404.00498), narrowed to stay below three
    million parameters: the first convolution is fixed to whiten patches of the training images. If it is ``mirrored``,
    and held to its :meth:`reflections`, an image and its mirror image get the same answer; with ``learns_in_halves`` it
    then learns in half of the multiplications (:mod:`~training.image_classifier.even_odd`), compiled for the CPU.
    """

    def __init__(
        self,
        shape: Shape,
        num_classes: int,
        activation: str,
        dropout: float,
        widths: tuple[int, int, int] = (128, 224, 224),
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        filters = 2 * 4 * shape[0]
        self.mirrored = mirrored
        self.learns_in_halves = False
        self.whiten = nn.Conv2d(shape[0], filters, 2)
        self.whiten.weight.requires_grad_(False)
        self.activation = ACTIVATIONS[activation]()
        self.groups = nn.Sequential(
            ResidualGroup(filters, widths[0], activation, mirrored),
            ResidualGroup(widths[0], widths[1], activation, mirrored),
            ResidualGroup(widths[1], widths[2], activation, mirrored),
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[2], num_classes, bias=False)
        self.logit_scale = 1 / 9

    @torch.no_grad()
    def set_whitening(self, images: Tensor) -> None:
        """Fix the first convolution to the whitening of ``images`` (n, channels, H, W), normalised.

        The filters are the eigenvectors of the covariance of 2x2 patches, each divided by the root of
        its eigenvalue, with both signs (Jordan 2024, section 3.1).
        """
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1)  # (n, channels, H - 1, W - 1, 2, 2)
        if self.mirrored:
            patches = torch.cat((patches, patches.flip(5)))
        patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * 4).double()
        covariance = patches.T @ patches / len(patches)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        filters = (eigenvectors / (eigenvalues + 5e-4).sqrt()).T.reshape(-1, images.shape[1], 2, 2).float()
        if self.mirrored:
            filters = straighten(filters)
        self.whiten.weight.copy_(torch.cat((filters, -filters)))
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]

    def reflections(self) -> Iterator[tuple[Tensor, Reflection]]:
        """Parameters and statistics, each with how it would be, were all that the network sees mirrored."""
        inputs = pair_by_looks(self.whiten.weight)
        yield self.whiten.bias, Reflection((inputs,))  # type: ignore[misc]
        for group in self.groups:
            assert isinstance(group, ResidualGroup)  # noqa: S101  # made above
            outputs = pair_halves(group.first.out_channels, inputs.device)
            yield group.shrink.weight, Reflection((outputs, inputs))
            for convolution in (group.first, group.second):
                yield convolution.weight, Reflection((outputs, outputs))
            for norm in (group.shrink_norm, group.first_norm, group.second_norm):
                for values in (norm.bias, norm.running_mean, norm.running_var):
                    yield values, Reflection((outputs,))  # type: ignore[misc]
            inputs = outputs
        places = torch.arange(self.head.out_features, device=inputs.device)
        yield self.head.weight, Reflection((places, inputs))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.learns_in_halves:
            return answer(self, x)
        x = self.groups(self.activation(self.whiten(x)))
        x = self.dropout(self.pool(x).flatten(1))
        return self.head(x) * self.logit_scale  # type: ignore[no-any-return]


class TransferNet(nn.Module):
    """A torchvision network whose last layer is new. With ``frozen`` only that layer learns.

    Args:
        shape: channels, height and width of an image; one channel is repeated to the three that the backbone reads.
        num_classes: how many logits.
        backbone: ``resnet18`` or ``mobilenet_v3_small``.
        weights: ``default`` (torchvision's, trained on ImageNet, downloaded once), ``none``, or a file of the
            backbone's weights (safetensors, or a state_dict of tensors alone).
        frozen: keep the backbone as it is, the statistics of its batch norms included.

    Raises:
        SettingError: the file of weights is missing or not of this backbone.
    """

    def __init__(self, shape: Shape, num_classes: int, backbone: str, weights: str, frozen: bool) -> None:
        super().__init__()
        self.channels = shape[0]
        self.frozen = frozen
        self.backbone = torchvision.models.get_model(backbone, weights="DEFAULT" if weights == "default" else None)
        if weights not in ("default", "none"):
            _load_backbone(self.backbone, Path(weights))
        if frozen:
            self.backbone.requires_grad_(False)
        if backbone == "resnet18":
            self.backbone.fc = nn.Linear(self.backbone.fc.in_features, num_classes)
        else:
            self.backbone.classifier[-1] = nn.Linear(self.backbone.classifier[-1].in_features, num_classes)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen backbone stays as in evaluation."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x.expand(-1, 3, -1, -1) if self.channels == 1 else x)  # type: ignore[no-any-return]


def initialise(module: nn.Module, initialisation: str) -> None:
    """Draw the weights anew, as He et al. 2015 (``he``) or Glorot and Bengio 2010 (``glorot``); biases are zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if initialisation == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def pass_on(filters: Tensor, parts: int) -> None:
    """Let the first of ``filters`` (out, in, 3, 3) pass their input on, so that a deep net starts as a shallow one.

    Those who are paired do so each for its own part of the inputs.
    """
    for place, part in enumerate(filters.chunk(parts)):
        inputs = part.chunk(parts, 1)[place]
        count = min(len(part), inputs.shape[1])
        part[:count] = 0
        nn.init.dirac_(inputs[:count])


def _load_backbone(backbone: nn.Module, path: Path) -> None:
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        backbone.load_state_dict(state)
    except (OSError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise SettingError(f"weights: '{path}' holds no weights of this backbone: {error}") from error


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with a fixed scale of one and quick statistics, as in airbench; it commutes with max-pooling."""
    norm = nn.BatchNorm2d(channels, momentum=0.4, eps=1e-12)
    norm.weight.requires_grad_(False)
    return norm
