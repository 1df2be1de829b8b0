"""The model as BentoML's documentation shows a service of images: a class, a typed method, a PIL image."""

from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from benchmarks.servers.image_model import ImageModel
from benchmarks.servers.session import served_folder


@bentoml.service
class Classifier:
    """The stock service, with nothing changed from the defaults."""

    def __init__(self) -> None:
        self.model = ImageModel(served_folder())

    @bentoml.api  # type: ignore[untyped-decorator]
    def classify(self, image: Image) -> dict[str, Any]:
        """The image as a multipart part -> the answer's JSON."""
        pixels = np.asarray(image.convert("RGB").resize(self.model.size))
        return self.model.classify(pixels)
