"""The classifier that judges images: what they show, and by which features they are compared.

It learns from the training split and has no part in the training of a generator. Of images of one class it learns
which way up they stand, which takes features too (Gidaris et al. 2018, arXiv 1803.07728).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from training.augmentation import cut_out, mirror, translate
from training.image_generator.data import to_signed
from training.images import Images, Labels, Split, to_tensor
from training.optimizers import learning_rate_factor, scale_learning_rates

FEATURES = 128
BATCH = 250
BATCH_SIZE = 250
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
WARMUP_FRACTION = 0.15
TRANSLATE = 2
CUT_OUT_SHARE = 4  # a square of a quarter of the side
TURNS = 4


class Reading(NamedTuple):
    """What a judge says of images."""

    features: NDArray[np.float32]  # (images, 128)
    classes: Labels  # (images,)


class Recipe(NamedTuple):
    """How a judge learns."""

    epochs: int  # passes over the images
    flip: bool = False  # whether images are mirrored by chance
    label_smoothing: float = 0.0  # how much less than certain of a label it is to be


class Judge(nn.Module):
    """Five convolutions with batch norm, their mean over places as features, a linear layer.

    Takes images (batch, channels, side, side) from -1 to 1, answers features (batch, 128) and logits.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.turns = classes == 1
        self.convolutions = nn.Sequential(
            *_convolve(channels, 32),
            nn.MaxPool2d(2),
            *_convolve(32, 64),
            *_convolve(64, 64),
            nn.MaxPool2d(2),
            *_convolve(64, FEATURES),
            *_convolve(FEATURES, FEATURES),
        )
        self.classes = nn.Linear(FEATURES, TURNS if self.turns else classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, side, side) -> features (batch, 128), logits (batch, classes)."""
        features = self.convolutions(images).float().mean(dim=(2, 3))
        return features, self.classes(features)


def train_judge(split: Split, classes: int, recipe: Recipe, seed: int, accelerator: Accelerator) -> Judge:
    """A judge that has learnt ``split``, on the accelerator's device, in evaluation mode.

    Args:
        split: images with their labels, real or generated.
        classes: how many there are.
        recipe: how it learns them.
        seed: decides the weights, the order and the changes.
        accelerator: device and precision.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = to_tensor(split.images), torch.from_numpy(split.labels)
    judge: Judge = Judge(images.shape[1], classes).to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = AdamW(judge.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batch_size = min(BATCH_SIZE, len(split))
    steps = len(split) // batch_size
    judge.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(split), generator=generator)
        for step in range(steps):
            progress = (epoch + step / steps) / recipe.epochs
            scale_learning_rates([optimizer], learning_rate_factor("cosine", WARMUP_FRACTION, progress))
            rows = order[step * batch_size : (step + 1) * batch_size]
            _learn(judge, optimizer, recipe, images[rows], labels[rows], generator, accelerator)
    return judge.eval()


@torch.no_grad()
def read(judge: Judge, images: Images) -> Reading:
    """The features of images and the classes that they are taken for, in single precision."""
    device = next(judge.parameters()).device
    features, classes = [], []
    for batch in to_tensor(images).split(BATCH):  # type: ignore[no-untyped-call]
        found, logits = judge(to_signed(batch.to(device)))
        features.append(found.cpu())
        classes.append(logits.argmax(dim=1).cpu())
    return Reading(torch.cat(features).numpy(), torch.cat(classes).numpy())


def accuracy(reading: Reading, labels: Labels) -> float:
    """The share of images that are taken for what they are meant to be."""
    return float((reading.classes == labels).mean())


def _learn(
    judge: Judge,
    optimizer: AdamW,
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    accelerator: Accelerator,
) -> None:
    pixels, labels = to_signed(images.to(accelerator.device)), labels.to(accelerator.device)
    if recipe.flip:
        mirrored = torch.rand(len(pixels), generator=generator).to(pixels.device) < 0.5
        pixels = mirror(pixels, mirrored)
    if judge.turns:
        labels = torch.randint(TURNS, labels.shape, generator=generator).to(accelerator.device)
        pixels = torch.stack([picture.rot90(int(turns), (1, 2)) for picture, turns in zip(pixels, labels, strict=True)])
    pixels = translate(pixels, TRANSLATE, generator)
    pixels = cut_out(pixels, pixels.shape[-1] // CUT_OUT_SHARE, generator)
    with accelerator.autocast():
        _, logits = judge(pixels.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _convolve(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
