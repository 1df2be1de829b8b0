"""The pictures that the servers are sent: PNG files, as bytes."""

import base64
import random
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import load_golden

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


def golden_images(version_folder: Path) -> list[bytes]:
    """The PNG files among the golden requests of a version, which come from the test split.

    Raises:
        ValueError: there is none.
    """
    requests = [example.request for example in load_golden(version_folder).examples]
    images = [base64.b64decode(request.body) for request in requests if request.content_type == "image/png"]
    if not images:
        raise ValueError(f"{version_folder}: golden.json holds no request of type image/png")
    return images


def sample_files(folder: Path, count: int, seed: int) -> list[Path]:
    """``count`` pictures drawn at random from ``folder`` and the folders below it, or all of them if there are fewer.

    Raises:
        ValueError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: holds no pictures, expected files that end in {', '.join(sorted(SUFFIXES))}")
    return random.Random(seed).sample(files, min(count, len(files)))


def encode_png(path: Path) -> bytes:
    """A picture's file as PNG, with the same pixels.

    Raises:
        ValueError: it cannot be decoded.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{path}: cannot be decoded")
    return cv2.imencode(".png", pixels)[1].tobytes()


def decode(image: bytes) -> NDArray[np.uint8]:
    """A picture's bytes -> (height, width, 3) RGB."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ValueError(f"{len(image)} bytes that begin with {image[:8]!r}: cannot be decoded")
    return pixels.astype(np.uint8, copy=False)
