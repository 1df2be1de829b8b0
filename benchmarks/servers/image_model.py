"""The image classifier as every peer uses it: the same session, the same top five."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kornia_rs
import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.servers.session import open_session

Pixels = NDArray[np.uint8]


class ImageModel:
    """An image classifier."""

    def __init__(self, folder: Path) -> None:
        """Load the version in ``folder``."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.session = open_session(folder)
        self.input_name: str = manifest["inputs"][0]["name"]
        self.labels: list[str] = manifest["labels"]
        self.size: tuple[int, int] = (manifest["preprocessing"]["width"], manifest["preprocessing"]["height"])

    def decode(self, body: bytes) -> Pixels:
        """A PNG file of the model's size -> (height, width, 3)."""
        pixels: Pixels = kornia_rs.io.decode_image_png_u8(body, self.size[::-1], "rgb")
        return pixels

    def stack(self, contents: Sequence[Pixels]) -> Pixels:
        """(height, width, 3) each -> (batch, height, width, 3)."""
        return np.stack(contents)

    def infer(self, images: Pixels) -> NDArray[np.float32]:
        """(batch, height, width, channels) -> (batch, classes)."""
        probabilities: NDArray[np.float32] = self.session.run(None, {self.input_name: images})[0]
        return probabilities

    def encode(self, _: Pixels, probabilities: NDArray[np.float32]) -> bytes:
        """(1, classes) -> the answer."""
        return orjson.dumps(self.answer(probabilities[0]))

    def classify(self, image: Pixels) -> dict[str, Any]:
        """(height, width, channels) -> the answer's JSON, with the five likeliest labels."""
        return self.answer(self.infer(image[np.newaxis])[0])

    def answer(self, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        """(classes) -> the answer's JSON."""
        order = np.argsort(-probabilities)[:5].tolist()
        top = [{"label": self.labels[index], "probability": float(probabilities[index])} for index in order]
        return {"predictions": [{**top[0], "top": top}]}
