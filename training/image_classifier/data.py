"""The images that a classifier learns from, and the numbers that it reads for them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.images import ImageData, Images, load_images

if TYPE_CHECKING:
    from training.image_classifier.train import Config

# Of ImageNet, on which torchvision's backbones were trained, in levels of 0 to 255 (torchvision.models, "weights").
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


def load_data(config: "Config", cache: Path) -> ImageData:
    """The images that ``config`` names, of two classes or more.

    Raises:
        DataError: what :func:`~training.images.load_images` says.
    """
    return load_images(
        config.data,
        cache,
        size=config.image_size,
        max_images=config.max_images,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
    )


def pixel_statistics(config: "Config", images: Images) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation by which pixels are normalised, each (channels, 1, 1).

    They are the training images' own, or ImageNet's for a backbone that learnt with those.
    """
    channels = images.shape[-1]
    if config.architecture == "transfer" and config.weights != "none" and channels == 3:
        return tuple(torch.tensor(levels).view(3, 1, 1) for levels in (IMAGENET_MEAN, IMAGENET_DEVIATION))  # type: ignore[return-value]
    pixels = images.reshape(-1, channels)
    mean, deviation = pixels.mean(axis=0, dtype=np.float64), pixels.std(axis=0, dtype=np.float64)
    return tuple(  # type: ignore[return-value]
        torch.tensor(levels, dtype=torch.float32).view(channels, 1, 1) for levels in (mean, np.maximum(deviation, 1.0))
    )
