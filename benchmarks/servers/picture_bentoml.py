"""The generator as BentoML's documentation shows a service of images: a class, typed methods, a PIL image."""

from typing import Any

import bentoml
from PIL.Image import Image

from benchmarks.servers.picture_model import PictureModel, encode_by_pillow, make_grid, to_picture
from benchmarks.servers.session import served_folder


@bentoml.service
class Pictures:
    """The stock service, with nothing changed from the defaults."""

    def __init__(self) -> None:
        self.model = PictureModel(served_folder())

    @bentoml.api  # type: ignore[untyped-decorator]
    def generate_image(self, count: int, label: str, seed: int) -> dict[str, Any]:
        """Make up images, as files in JSON."""
        images = self.model.generate(count, label, seed)
        return self.model.answer(label, seed, [encode_by_pillow(pixels) for pixels in images])

    @bentoml.api  # type: ignore[untyped-decorator]
    def generate_grid(self, count: int, label: str, seed: int) -> Image:
        """Make up images, as one; BentoML writes the file."""
        return to_picture(make_grid(self.model.generate(count, label, seed)))
