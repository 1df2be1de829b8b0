"""Makes up images of a class that is asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StrictFloat, StrictStr

from models.errors import ManifestError
from models.image import ImagePreprocessing
from models.manifest import Manifest, find_preprocessing
from models.noise import draw_normal, draw_uniform
from service.bodies import Body, read_json
from service.config import Settings
from service.encoders import Encoder
from service.errors import UnprocessableError
from service.items import Item
from service.pictures import GridEncoder, PicturesEncoder, make_mark
from service.problems import shorten
from service.queries import Query as CommonQuery
from service.seeds import MAX_SEED, Draw, Seed, settle, walk
from service.session import Row
from service.tensor_contract import check_tensors, measure_noise

ROUTE: Final = "/generate-image"
_MAX_LISTED: Final = 12


class Query(CommonQuery):
    """Nothing beside what every request may carry."""


class Request(Draw):
    """How many images, and which."""

    seed: Seed | None = Field(
        default=None,
        description="Of the first image; each further one has the next seed. Alone or among others, a seed gives the "
        "same image of a label. One is drawn if not given.",
    )
    label: StrictStr | None = Field(
        default=None, description="What the images show; each image's seed decides if not given."
    )
    truncation: Annotated[StrictFloat, Field(gt=0, le=1)] = Field(
        default=1.0, description="Less gives images that are more typical and less diverse."
    )


class Image(BaseModel):
    """An image, and what gives it again."""

    seed: int | None = Field(description="Null between the two seeds of an interpolation.")
    label: str
    png: str = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})


class Response(BaseModel):
    """The images, in the order of their seeds or of their way. Each says in its metadata that it is synthetic."""

    model: str
    version: str
    images: list[Image]


MEDIA_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {"application/json": Request.model_json_schema()}


class Assets(NamedTuple):
    """What a version's requests are read and answered with."""

    manifest: Manifest
    noise: int  # the numbers that the graph reads for an image
    shape: tuple[int, int, int]  # height, width, channels
    places: Mapping[str, int]  # of the labels


class Facts(NamedTuple):
    """What an image is answered with."""

    seed: int | None
    label: str


def load(_: Path, manifest: Manifest) -> Assets:
    """The labels, and the shape of the images.

    Raises:
        ManifestError: the tensors are not noise, a label and a truncation in and an image out, or there is no label.
    """
    pixels, labels = find_preprocessing(manifest, ImagePreprocessing), manifest.labels
    if not labels:
        raise ManifestError("manifest.json: labels: none, expected one or more")
    noise = measure_noise(manifest)
    shape = (pixels.height, pixels.width, pixels.channels)
    drawn = [
        ("z", "float32", ("batch", noise)),
        ("label", "int64", ("batch",)),
        ("truncation", "float32", ("batch",)),
    ]
    check_tensors(manifest, drawn, [("images", "uint8", ("batch", *shape))], "preprocessing")
    return Assets(manifest, noise, shape, {label: place for place, label in enumerate(labels)})


def describe(manifest: Manifest) -> dict[str, dict[str, dict[str, Any]]]:
    """The labels."""
    return {"Request": {"label": {"enum": [*manifest.labels, None]}}}


def parse(body: Body, settings: Settings) -> Request:
    """What to make, with a seed, drawn where none is given."""
    return settle(read_json(Request, body.content), settings.max_images)


def is_quick(_: Request) -> bool:
    """Whether the images are drawn soon: each is drawn when its turn comes."""
    return True


def is_repeatable(body: Body) -> bool:
    """Whether no seed is drawn."""
    return read_json(Request, body.content).is_repeatable


def preprocess(request: Request, _: Query, assets: Assets, settings: Settings) -> Iterator[Item]:  # noqa: ARG001  # the limits were parse's
    """The noise (noise,), the label's place and the truncation, scalars, of each image, drawn when it is asked for.

    Raises:
        UnprocessableError: there is no such label.
    """
    if request.label is not None and request.label not in assets.places:
        raise _refuse_label(request.label, assets.manifest.labels)
    truncation = np.array(request.truncation, np.float32)
    return (Item((z, np.array(assets.places[facts.label]), truncation), facts) for z, facts in _draw(request, assets))


def postprocess(row: Row, facts: Facts, _: Query, assets: Assets) -> dict[str, Any]:  # noqa: ARG001  # the graph has done it all
    """An image from the graph's pixels, (height, width, channels) uint8."""
    return {"seed": facts.seed, "label": facts.label, "pixels": row[0]}


def _encode_json(request: Request, assets: Assets) -> Encoder:
    members = {"model": assets.manifest.kind, "version": str(assets.manifest.version)}
    return PicturesEncoder(members, "images", assets.shape, lambda facts: _mark(request, assets, facts))


def _encode_png(request: Request, assets: Assets) -> Encoder:
    way, seed, count = request.interpolate, request.seed, request.count
    if way is not None:
        return GridEncoder(way.steps, assets.shape, _mark(request, assets, {"label": request.label}), ())
    assert seed is not None  # noqa: S101  # by parse
    assert count is not None  # noqa: S101  # by parse
    facts = {"seed": seed, "label": request.label, "count": count}
    if count == 1:
        facts = {"seed": seed, "label": _choose_label(seed, request, assets)}
    return GridEncoder(count, assets.shape, _mark(request, assets, facts), [(b"x-seed", b"%d" % seed)])


ENCODERS: Final[Mapping[str, Callable[[Request, Assets], Encoder]]] = {
    "application/json": _encode_json,
    "image/png": _encode_png,
}


def _mark(request: Request, assets: Assets, facts: Mapping[str, object]) -> bytes:
    manifest, way = assets.manifest, request.interpolate
    origin = {"model": manifest.kind, "version": str(manifest.version), **facts, "truncation": request.truncation}
    return make_mark(origin if way is None else {**origin, "interpolate": way.model_dump()})


def _draw(request: Request, assets: Assets) -> Iterator[tuple[NDArray[np.float32], Facts]]:
    way = request.interpolate
    if way is not None:
        ends = {0: way.from_seed, way.steps - 1: way.to_seed}
        first, last = (_choose(seed, request, assets) for seed in ends.values())
        for step, (z, label) in enumerate(walk(way.steps, first, last)):
            yield z, Facts(ends.get(step), label)
        return
    assert request.seed is not None  # noqa: S101  # by parse
    assert request.count is not None  # noqa: S101  # by parse
    for place in range(request.count):
        seed = (request.seed + place) % (MAX_SEED + 1)
        z, label = _choose(seed, request, assets)
        yield z, Facts(seed, label)


def _choose(seed: int, request: Request, assets: Assets) -> tuple[NDArray[np.float32], str]:
    """The noise (noise,) of a seed, and the label."""
    return next(draw_normal(seed, 1, assets.noise)), _choose_label(seed, request, assets)


def _choose_label(seed: int, request: Request, assets: Assets) -> str:
    if request.label is not None:
        return request.label
    labels = assets.manifest.labels
    return labels[int(next(draw_uniform(seed, 1)) * len(labels))]


def _refuse_label(label: str, labels: Sequence[str]) -> UnprocessableError:
    listed = ", ".join(f"'{label}'" for label in labels[:_MAX_LISTED])
    more = f" and {len(labels) - _MAX_LISTED} more" if len(labels) > _MAX_LISTED else ""
    return UnprocessableError([("label", f"'{shorten(label)}' is none of {listed}{more}")])
