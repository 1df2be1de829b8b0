"""How a picture becomes the pixels that a network reads. Training and service both call this, so they cannot differ."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pixels = NDArray[np.uint8]


class ImagePreprocessing(BaseModel):
    """The facts that turn decoded pixels into the graph's input; they travel in the manifest.

    ``fit`` is what happens to a picture of another shape: ``crop`` cuts the largest centred
    rectangle of the target's aspect ratio, ``stretch`` ignores the aspect ratio. Then it is
    resized: by area where it shrinks (every source pixel counts, so nothing aliases), by bilinear
    interpolation where it grows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["image"] = "image"
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[1, 3]
    fit: Literal["crop", "stretch"] = "crop"


def fit_image(pixels: Pixels, preprocessing: ImagePreprocessing) -> Pixels:
    """Crop and resize RGB pixels to what the network reads.

    Args:
        pixels: (height, width, 3) RGB, of any height and width from 1 up.
        preprocessing: the target's height, width and channels, and how to fit.

    Returns:
        (preprocessing.height, preprocessing.width, preprocessing.channels), contiguous. A picture
        that has the target's size already keeps its exact values; one channel is luma by ITU-R
        BT.601, as in JPEG.
    """
    height, width = preprocessing.height, preprocessing.width
    if pixels.shape[:2] != (height, width):
        if preprocessing.fit == "crop":
            pixels = _crop_to_aspect(pixels, height, width)
        shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)
    if preprocessing.channels == 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)[:, :, np.newaxis]
    return np.ascontiguousarray(pixels)


def _crop_to_aspect(pixels: Pixels, height: int, width: int) -> Pixels:
    """The largest centred part of ``pixels`` with the aspect ratio height : width."""
    have_height, have_width = pixels.shape[:2]
    crop_height = min(have_height, max(1, round(have_width * height / width)))
    crop_width = min(have_width, max(1, round(have_height * width / height)))
    top = (have_height - crop_height) // 2
    left = (have_width - crop_width) // 2
    return pixels[top : top + crop_height, left : left + crop_width]
