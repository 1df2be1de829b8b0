"""Random changes to a batch of training images. Each takes and gives (batch, channels, height, width) floats.

All draw from an explicit generator, so that the same seed and epoch give the same images.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from training.errors import SettingError


def check_room(shape: tuple[int, int], **pixels: int) -> None:
    """Refuse changes that would leave nothing of an image, or need more of it than there is.

    Args:
        shape: the height and the width of the images.
        pixels: by how many a setting of this name shifts, or blanks.

    Raises:
        SettingError: they are not fewer than the image has.
    """
    for name, count in pixels.items():
        if count >= min(shape):
            raise SettingError(f"{name}: {count} pixels of images of {shape[0]}x{shape[1]}, expected fewer")


def alternate_flip(images: Tensor, coins: Tensor, epoch: int) -> Tensor:
    """Mirror half of the images in one epoch and the other half in the next (Jordan 2024, section 3.6).

    An image is seen both ways in any two epochs, where independent coin flips leave a quarter seen one way twice.

    Args:
        images: the batch.
        coins: (batch,) of 0 or 1, the same for an image in every epoch.
        epoch: the number of the epoch.
    """
    return mirror(images, ((coins + epoch) % 2).bool())


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Turn left and right of those images for which ``mirrored``, (batch,), says so."""
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)


def translate(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Shift each image by up to ``pixels`` in both directions; what comes in from outside is its reflection."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    top, left = torch.randint(2 * pixels + 1, (2, batch), generator=generator).to(images.device)
    rows = (top[:, None] + torch.arange(height, device=images.device)).view(batch, 1, height, 1)
    columns = (left[:, None] + torch.arange(width, device=images.device)).view(batch, 1, 1, width)
    picture = torch.arange(batch, device=images.device).view(batch, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, channels, 1, 1)
    return padded[picture, channel, rows, columns]


def cut_out(images: Tensor, size: int, generator: Generator) -> Tensor:
    """Set a square of ``size`` pixels to zero, the mean (DeVries and Taylor 2017, arXiv 1708.04552)."""
    batch, _, height, width = images.shape
    top = torch.randint(height - size + 1, (batch, 1), generator=generator).to(images.device)
    left = torch.randint(width - size + 1, (batch, 1), generator=generator).to(images.device)
    rows = torch.arange(height, device=images.device) - top
    columns = torch.arange(width, device=images.device) - left
    inside_rows = ((rows >= 0) & (rows < size)).view(batch, 1, height, 1)
    inside_columns = ((columns >= 0) & (columns < size)).view(batch, 1, 1, width)
    return images.masked_fill(inside_rows & inside_columns, 0.0)


def rotate(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Turn each image about its centre by up to ``degrees`` either way; its reflection comes in from outside."""
    uniform = 2 * torch.rand(len(images), generator=generator).to(images.device) - 1
    angles = uniform * math.radians(degrees)
    cosines, sines, zeros = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrices = torch.stack((cosines, -sines, zeros, sines, cosines, zeros), dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
