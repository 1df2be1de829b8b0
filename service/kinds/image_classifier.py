"""Says what is in a picture."""

import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from models.errors import ManifestError
from models.image import ImagePreprocessing, fit_image
from models.manifest import Manifest, find_preprocessing
from service.bodies import Body, read_json
from service.config import Settings
from service.errors import Problem, UnprocessableError
from service.images import decode_image, decodes_quickly
from service.items import Item
from service.multipart import read_parts
from service.queries import Query as CommonQuery
from service.session import Row

ROUTE: Final = "/classify"
OUTCOME: Final = ("label", "probability")
IMAGE_TYPES: Final = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/bmp",
    "image/gif",
    "application/octet-stream",
)

Images = Sequence[bytes]  # files, not decoded yet

DEFAULT_TOP_K: Final = 5
# From here on NumPy's partition is faster than sorting in Python: 3 us each at 64 classes.
_MANY_CLASSES: Final = 64


def _decode_base64(value: object) -> object:
    if isinstance(value, str):
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"is not base64: {str(error).lower()}") from error
    if not isinstance(value, bytes):
        raise ValueError("should be a string of base64")  # noqa: TRY004  # pydantic passes a TypeError on
    return value


def _encode_base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode_base64),
    PlainSerializer(_encode_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class Query(CommonQuery):
    """What to answer about each image."""

    top_k: int | None = Field(
        default=None,
        ge=1,
        description=f"How many labels to name, the most probable first: {DEFAULT_TOP_K}, or all if there are fewer.",
    )


# A red pixel.
_EXAMPLE_PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


class Request(BaseModel):
    """The images to classify: PNG, JPEG, WebP, BMP or GIF files, in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: tuple[Base64, ...] = Field(min_length=1, examples=[[_EXAMPLE_PNG]])


class Alternative(BaseModel):
    """A label and how probable the model holds it to be."""

    label: str
    probability: float = Field(ge=0, le=1)


class Prediction(Alternative):
    """The most probable label, and the ``top_k`` most probable ones, the most probable first."""

    top: list[Alternative]


class Response(BaseModel):
    """One prediction for each image, in the order of the request."""

    model: str
    version: str
    predictions: list[Prediction]


MEDIA_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    **{media_type: {"type": "string", "contentMediaType": media_type} for media_type in IMAGE_TYPES},
    "multipart/form-data": {
        "type": "object",
        "properties": {
            "image": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
        },
        "required": ["image"],
        "additionalProperties": False,
    },
    "application/json": Request.model_json_schema(),
}


def load(_: Path, manifest: Manifest) -> Manifest:
    """The manifest, which says all that there is to know.

    Raises:
        ManifestError: its tensors are not pixels in and one probability for each label out.
    """
    pixels = find_preprocessing(manifest, ImagePreprocessing)
    expected_input = ("uint8", ("batch", pixels.height, pixels.width, pixels.channels))
    expected_output = ("float32", ("batch", len(manifest.labels)))
    for field, tensors, expected in (
        ("inputs", manifest.inputs, expected_input),
        ("outputs", manifest.outputs, expected_output),
    ):
        found = [(tensor.dtype, tensor.shape) for tensor in tensors]
        if found != [expected]:
            raise ManifestError(f"manifest.json: {field}: {found}, expected [{expected}] by preprocessing and labels")
    return manifest


def parse(body: Body, settings: Settings) -> Images:
    """The images in a body: the body itself, the parts of a form, or base64 in JSON."""
    if body.media_type in IMAGE_TYPES:
        return (body.content,)
    images: Images
    if body.media_type == "multipart/form-data":
        images = read_parts(body, "image", settings.max_items)
    else:
        images = read_json(Request, body.content).images
    if not 1 <= len(images) <= settings.max_items:
        raise UnprocessableError([("images", f"{len(images):,} images, expected 1 to {settings.max_items:,}")])
    return images


def is_quick(images: Images) -> bool:
    """Whether there is one image, and it is small."""
    return len(images) == 1 and decodes_quickly(images[0])


def preprocess(images: Images, query: Query, manifest: Manifest, settings: Settings) -> Iterator[Item]:
    """Decode each image and fit it to what the network reads: (height, width, channels) uint8.

    Raises:
        UnprocessableError: ``top_k`` is more than there are labels, or images cannot be decoded; it names all of them.
    """
    if query.top_k is not None and query.top_k > len(manifest.labels):
        raise UnprocessableError([("query.top_k", f"{query.top_k}, expected 1 to {len(manifest.labels)}")])
    target = find_preprocessing(manifest, ImagePreprocessing)
    # A JPEG that its decoder has shrunk no further than this gives the same pixels within 3 of 255 levels.
    at_least = (16 * target.height, 16 * target.width)
    problems: list[Problem] = []
    for index, image in enumerate(images):
        try:
            pixels = decode_image(image, settings.max_pixels, at_least=at_least, location=f"images[{index}]")
        except UnprocessableError as error:
            problems.extend(error.problems)
        else:
            yield Item((fit_image(pixels, target),))
    if problems:
        raise UnprocessableError(problems)


def postprocess(row: Row, _: None, query: Query, manifest: Manifest) -> dict[str, object]:
    """Name the most probable labels of one image's probabilities, (classes,) float32."""
    labels = manifest.labels
    top_k = min(query.top_k or DEFAULT_TOP_K, len(labels))
    candidates: Sequence[int] = range(len(labels))
    if len(labels) >= _MANY_CLASSES:
        candidates = np.sort(np.argpartition(row[0], -top_k)[-top_k:]).tolist()
    probabilities = row[0].tolist()
    ranked = sorted(candidates, key=probabilities.__getitem__, reverse=True)[:top_k]
    top = [{"label": labels[index], "probability": probabilities[index]} for index in ranked]
    return {**top[0], "top": top}
