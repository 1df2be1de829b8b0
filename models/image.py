"""How a picture becomes the pixels that a network reads. Training and service both call this, so they cannot differ.

What is read: PNG, JPEG, WebP, BMP and GIF.

- The first frame of an animation counts (of an animated PNG: its default image).
- EXIF orientation is applied, where the format carries EXIF or XMP; metadata that cannot be read says nothing.
- Transparency (alpha, a transparent palette entry, a colour key) is composited on white.
- Grey is copied to three channels, a palette is looked up, one bit is black or white.
- 16 bits per channel keep their high byte; a colour key in such a PNG is ignored.
- CMYK and YCCK become RGB by Pillow's formula. Colour profiles and gamma are ignored.
"""

from collections.abc import Callable
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pydantic import BaseModel, ConfigDict, Field

Pixels = NDArray[np.uint8]

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


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


def read_pixels(picture: Image.Image) -> Pixels:
    """The pixels of a picture that Pillow has opened, (height, width, 3) RGB, upright.

    Raises:
        Exception: whatever Pillow's parsers stumble on in a damaged file; a dozen types were seen.
    """
    return turn_upright(_to_rgb(picture), read_orientation(picture))


def read_orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's parsers of damaged metadata; a dozen types were seen
        return 1
    return orientation if orientation in _UPRIGHT else 1


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror (height, width, 3) pixels as an EXIF orientation of 1 to 8 says."""
    turn = _UPRIGHT[orientation]
    return pixels if turn is None else turn(pixels).astype(np.uint8, copy=False)


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


def _to_rgb(picture: Image.Image) -> Pixels:
    """The picture's pixels as (height, width, 3) RGB, not yet turned."""
    picture.load()
    if picture.mode.startswith("I;16"):
        high_byte = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(high_byte[:, :, np.newaxis], 3, axis=2)
    if picture.has_transparency_data and not _has_deep_colour_key(picture):
        picture = picture.convert("RGBA")
        opaque = Image.new("RGB", picture.size, "white")
        opaque.paste(picture, mask=picture)
        return np.array(opaque)
    return np.array(picture.convert("RGB"))


def _has_deep_colour_key(picture: Image.Image) -> bool:
    """Whether the colour key is of 16 bits: Pillow has only the high bytes to compare it with."""
    key = picture.info.get("transparency")
    return picture.mode == "RGB" and isinstance(key, tuple) and max(key) > 255


# By OpenCV: NumPy takes ten times as long to make a turned picture contiguous.
_UPRIGHT: Final[dict[int, Callable[[Pixels], cv2.typing.MatLike] | None]] = {
    1: None,
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
