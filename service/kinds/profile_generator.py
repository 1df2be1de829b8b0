"""Makes up customers: rows of a table that nobody is behind."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, StrictStr

from models.columns import TablePreprocessing, ValueProblem, read_value
from models.errors import ManifestError
from models.manifest import Manifest
from service.bodies import Body, read_json
from service.config import Settings
from service.encoders import CsvEncoder, Encoder, JsonEncoder
from service.errors import UnprocessableError
from service.items import Item
from service.noise import draw_normal, draw_uniform, interpolate
from service.queries import Query as CommonQuery
from service.session import Row
from service.table_contract import check_tensors, find_table, list_row_tensors
from service.table_schema import Schema, describe_answer_row, describe_target
from service.table_writer import TableWriter

ROUTE: Final = "/generate-profiles"
_MAX_SEED: Final = 2**63 - 1
# A seed that is drawn is one that every language's JSON can hold.
_DRAWN_BITS: Final = 53

Seed = Annotated[StrictInt, Field(ge=0, le=_MAX_SEED)]


class Interpolation(BaseModel):
    """A way through what the model can make up, from the first profile of one seed to the first one of another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_seed: Seed
    to_seed: Seed
    steps: StrictInt = Field(ge=2, description="How many profiles, the first and the last among them.")


class Query(CommonQuery):
    """Nothing beside what every request may carry."""


class Request(BaseModel):
    """How many profiles, and which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[StrictInt, Field(ge=1)] | None = Field(default=None, description="1 if not given.")
    churn: StrictBool | StrictStr | StrictInt | None = Field(
        default=None, description="The target of all profiles; as often as in the training data if not given."
    )
    seed: Seed | None = Field(
        default=None, description="The same seed gives the same profiles. One is drawn if not given."
    )
    interpolate: Interpolation | None = Field(default=None, description="In the place of `count` and `seed`.")


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
    table = find_table(manifest)
    noise = manifest.inputs[0].shape[-1] if manifest.inputs else "no"
    drawn = [("z", "float32", ("batch", noise)), ("target", "int64", ("batch",))]
    check_tensors(manifest, drawn, list_row_tensors(table))
    if not isinstance(noise, int):
        raise ManifestError(f"manifest.json: inputs: 'z' has {noise} numbers in a row, expected a fixed size")
    return Assets(manifest, table, noise, TableWriter(table))


def describe(manifest: Manifest) -> dict[str, dict[str, Schema]]:
    """The words of the target, and the columns of a profile."""
    table = manifest.preprocessing
    assert isinstance(table, TablePreprocessing)  # noqa: S101  # by load
    return {
        "Request": {"churn": describe_target(table)},
        "Response": {"profiles": {"type": "array", "items": describe_answer_row(table)}},
    }


def parse(body: Body, settings: Settings) -> Request:
    """What to make, with a seed, drawn where none is given."""
    request = read_json(Request, body.content)
    way = request.interpolate
    if way is not None and (request.count is not None or request.seed is not None):
        raise UnprocessableError([("interpolate", "expected neither count nor seed beside it")])
    location, count = ("count", request.count or 1) if way is None else ("interpolate.steps", way.steps)
    if count > settings.max_profiles:
        raise UnprocessableError([(location, f"{count:,}, expected at most {settings.max_profiles:,}")])
    if way is not None:
        return request
    seed = secrets.randbits(_DRAWN_BITS) if request.seed is None else request.seed
    return request.model_copy(update={"count": count, "seed": seed})


def is_repeatable(body: Body) -> bool:
    """Whether no seed is drawn."""
    request = read_json(Request, body.content)
    return request.seed is not None or request.interpolate is not None


def is_quick(_: Request) -> bool:
    """Whether the rows are drawn soon: each is drawn when its turn comes."""
    return True


def preprocess(request: Request, _: Query, assets: Assets, settings: Settings) -> Iterator[Item]:  # noqa: ARG001  # the limits were parse's
    """The noise (noise,) and the target, a scalar, of each profile, drawn when it is asked for.

    Raises:
        UnprocessableError: the target is not one of its two words.
    """
    target = _read_target(request.churn, assets.table)
    if request.interpolate is not None:
        return _draw_way(request.interpolate, target, assets)
    assert request.seed is not None  # noqa: S101  # by parse
    assert request.count is not None  # noqa: S101  # by parse
    return _draw(request.seed, request.count, target, assets)


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


def _draw(seed: int, count: int, target: int | None, assets: Assets) -> Iterator[Item]:
    chances = draw_uniform(seed, count)
    for z in draw_normal(seed, count, assets.noise):
        chance = next(chances)
        yield _make_item(z, int(chance < assets.table.target_shares[1]) if target is None else target)


def _draw_way(way: Interpolation, target: int | None, assets: Assets) -> Iterator[Item]:
    """Each profile has the target of the end that it is nearer to, where none is asked for."""
    first, last = (next(_draw(seed, 1, target, assets)) for seed in (way.from_seed, way.to_seed))
    for step, z in enumerate(interpolate(first.row[0], last.row[0], way.steps)):
        yield _make_item(z, (first if 2 * step < way.steps else last).facts)


def _make_item(z: NDArray[np.float32], target: int) -> Item:
    return Item((z, np.array(target)), target)
