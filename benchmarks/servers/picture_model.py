"""The generator of images as every peer uses it: a count, a label and a seed in, PNG files or a grid out."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from benchmarks.servers.session import open_session
from models.manifest import load_manifest
from service.png import encode_png

Pixels = NDArray[np.uint8]
Inputs = dict[str, NDArray[Any]]

# As many images are asked for as a grid, fewer as files in JSON.
GRID_IMAGES = 64
GAP = 2


class Request(NamedTuple):
    """What is asked for, and the graph's inputs."""

    label: str
    seed: int
    inputs: Inputs


class PictureModel:
    """A generator of images."""

    def __init__(self, folder: Path) -> None:
        """Load the version in ``folder``."""
        manifest = load_manifest(folder)
        self.session = open_session(folder)
        self.noise = int(manifest.inputs[0].shape[1])
        self.labels = manifest.labels

    def draw(self, count: int, label: str, seed: int) -> Inputs:
        """Noise (count, noise), of a seed for each image, the label's place and no truncation, (count,) each."""
        z = np.stack([self._draw_noise(seed + place) for place in range(count)])
        place = np.full(count, self.labels.index(label), np.int64)
        return {"z": z, "label": place, "truncation": np.ones(count, np.float32)}

    def infer(self, inputs: Inputs) -> Pixels:
        """The graph's inputs -> (count, height, width, channels)."""
        images: Pixels = self.session.run(["images"], inputs)[0]
        return images

    def generate(self, count: int, label: str, seed: int) -> Pixels:
        """A request's images, (count, height, width, channels)."""
        return self.infer(self.draw(count, label, seed))

    def answer(self, label: str, seed: int, files: Sequence[bytes]) -> dict[str, Any]:
        """The files of a request's images -> the answer's JSON."""
        texts = [base64.b64encode(file).decode() for file in files]
        return {"images": [{"seed": seed + place, "label": label, "png": text} for place, text in enumerate(texts)]}

    def decode(self, body: bytes) -> Request:
        """A request -> what it asks for."""
        content = orjson.loads(body)
        return Request(content["label"], content["seed"], self.draw(**content))

    def stack(self, contents: Sequence[Request]) -> Inputs:
        """The inputs of several requests as one."""
        inputs = [content.inputs for content in contents]
        return {name: np.concatenate([one[name] for one in inputs]) for name in ("z", "label", "truncation")}

    def encode(self, content: Request, images: Pixels) -> bytes:
        """A request and its images -> the answer, by the encoder that was the fastest of those measured."""
        if len(images) >= GRID_IMAGES:
            return encode_png(make_grid(images))
        return orjson.dumps(self.answer(content.label, content.seed, [encode_png(pixels) for pixels in images]))

    def _draw_noise(self, seed: int) -> NDArray[np.float32]:
        return np.random.Generator(np.random.PCG64(seed)).standard_normal(self.noise, np.float32)


def make_grid(images: Pixels) -> Pixels:
    """Images (count, height, width, channels) side by side, with white between: (height, width, channels)."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for place, pixels in enumerate(images):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        grid[top : top + height, left : left + width] = pixels
    return grid


def to_picture(pixels: Pixels) -> Image.Image:
    """(height, width, channels) -> a picture of Pillow's."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def encode_by_pillow(pixels: Pixels) -> bytes:
    """(height, width, channels) -> a PNG file, as most would write it."""
    file = io.BytesIO()
    to_picture(pixels).save(file, "PNG")
    return file.getvalue()
