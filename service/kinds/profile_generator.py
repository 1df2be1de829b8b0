"""Makes up customers: rows of a table that nobody is behind."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, JsonValue, StrictBool, StrictInt, StrictStr

from models.columns import TablePreprocessing, ValueProblem, read_value
from models.manifest import Manifest, find_preprocessing
from models.noise import draw_normal, draw_uniform
from service.bodies import Body, read_json
from service.config import Settings
from service.encoders import CsvEncoder, Encoder, JsonEncoder
from service.errors import UnprocessableError
from service.items import Item
from service.queries import Query as CommonQuery
from service.seeds import Draw, settle, walk
from service.session import Row
from service.table_contract import list_row_tensors
from service.table_schema import Schema, describe_answer_row, describe_target
from service.table_writer import TableWriter
from service.tensor_contract import check_tensors, measure_noise

ROUTE: Final = "/generate-profiles"

Choice = tuple[NDArray[np.float32], int]  # noise (noise,), and which of the target's two words


class Query(CommonQuery):
    """Nothing beside what every request may carry."""


class Request(Draw):
    """How many profiles, and which."""

    churn: StrictBool | StrictStr | StrictInt | None = Field(
        default=None, description="The target of all profiles; as often as in the training data if not given."
    )


class Response(BaseModel):
    """The profiles, each with the columns of the training table."""

    model: str
    version: str
    seed: int | None = Field(description="What gives the same profiles again; null for an interpolation.")
    profiles: list[dict[str, JsonValue]]


MEDIA_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {"application/json": Request.model_json_schema()}


class Assets(NamedTuple):
    """What a version's requests are read and answered with."""

    manifest: Manifest
    table: TablePreprocessing
    noise: int  # the numbers that the graph reads for a row
    writer: TableWriter


def load(_: Path, manifest: Manifest) -> Assets:
    """The columns, and how to write them.

    Raises:
        ManifestError: the manifest's tensors are not noise and a target in and a row out.
    """
    table = find_preprocessing(manifest, TablePreprocessing)
    noise = measure_noise(manifest)
    drawn = [("z", "float32", ("batch", noise)), ("target", "int64", ("batch",))]
    check_tensors(manifest, drawn, list_row_tensors(table), "the columns")
    return Assets(manifest, table, noise, TableWriter(table))


def describe(manifest: Manifest) -> dict[str, dict[str, Schema]]:
    """The words of the target, and the columns of a profile."""
    table = find_preprocessing(manifest, TablePreprocessing)
    return {
        "Request": {"churn": describe_target(table)},
        "Response": {"profiles": {"type": "array", "items": describe_answer_row(table)}},
    }


def parse(body: Body, settings: Settings) -> Request:
    """What to make, with a seed, drawn where none is given."""
    return settle(read_json(Request, body.content), settings.max_profiles)


def is_repeatable(body: Body) -> bool:
    """Whether no seed is drawn."""
    return read_json(Request, body.content).is_repeatable


def is_quick(_: Request) -> bool:
    """Whether the rows are drawn soon: each is drawn when its turn comes."""
    return True


def preprocess(request: Request, _: Query, assets: Assets, settings: Settings) -> Iterator[Item]:  # noqa: ARG001  # the limits were parse's
    """The noise (noise,) and the target, a scalar, of each profile, drawn when it is asked for.

    Raises:
        UnprocessableError: the target is not one of its two words.
    """
    target = _read_target(request.churn, assets.table)
    return (Item((z, np.array(choice)), choice) for z, choice in _draw(request, target, assets))


def postprocess(row: Row, target: int, _: Query, assets: Assets) -> dict[str, Any]:
    """A profile from the graph's numbers (numeric columns,) and texts (other columns,)."""
    return assets.writer.write(row, target)


def _encode_json(request: Request, assets: Assets) -> Encoder:
    version = str(assets.manifest.version)
    return JsonEncoder({"model": assets.manifest.kind, "version": version, "seed": request.seed}, "profiles")


def _encode_csv(request: Request, assets: Assets) -> Encoder:
    headers = [] if request.seed is None else [(b"x-seed", b"%d" % request.seed)]
    return CsvEncoder(assets.writer.names, headers)


ENCODERS: Final[Mapping[str, Callable[[Request, Assets], Encoder]]] = {
    "application/json": _encode_json,
    "text/csv": _encode_csv,
}


def _read_target(value: JsonValue, table: TablePreprocessing) -> int | None:
    """Which of the target's two words is asked for, if any is."""
    try:
        word = read_value(table.target, value)
    except ValueProblem as problem:
        raise UnprocessableError([("churn", str(problem))]) from problem
    return table.target.categories.index(str(word)) if word else None


def _draw(request: Request, target: int | None, assets: Assets) -> Iterator[Choice]:
    way = request.interpolate
    if way is not None:
        first, last = (next(_follow(seed, 1, target, assets)) for seed in (way.from_seed, way.to_seed))
        return walk(way.steps, first, last)
    assert request.seed is not None  # noqa: S101  # by parse
    assert request.count is not None  # noqa: S101  # by parse
    return _follow(request.seed, request.count, target, assets)


def _follow(seed: int, count: int, target: int | None, assets: Assets) -> Iterator[Choice]:
    chances = draw_uniform(seed, count)
    for z in draw_normal(seed, count, assets.noise):
        chance = next(chances)
        yield z, int(chance < assets.table.target_shares[1]) if target is None else target
