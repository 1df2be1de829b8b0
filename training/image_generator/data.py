"""The images that a generator learns from, and the numbers that networks read and write for them."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.images import ImageData, load_images

if TYPE_CHECKING:
    from training.image_generator.train import Config

# Between the levels 0 and 255 of a byte and -1 and 1, as tanh has it.
HALF_RANGE = 127.5


def load_data(config: "Config", cache: Path) -> ImageData:
    """The images that ``config`` names, of one class or more.

    Raises:
        DataError: what :func:`~training.images.load_images` says.
    """
    return load_images(
        config.data,
        cache,
        size=config.size,
        max_images=config.max_images,
        validation_fraction=config.validation_fraction,
        min_classes=1,
        seed=config.seed,
    )


def to_signed(images: Tensor) -> Tensor:
    """Bytes of any shape as numbers from -1 to 1."""
    return images.float() / HALF_RANGE - 1


def to_levels(images: Tensor) -> Tensor:
    """Numbers from -1 to 1 as levels from 0 to 255, not yet rounded."""
    return (images.float() + 1) * HALF_RANGE


def to_bytes(images: Tensor) -> Tensor:
    """Numbers from -1 to 1, of any shape, as the nearest bytes; what lies half-way goes up."""
    return (to_levels(images) + 0.5).floor().to(torch.uint8)
