"""Seeds: what a request says of chance where things are made up, and the way from what one seed gives to another's."""

import secrets
from collections.abc import Iterator
from typing import Annotated, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from models.noise import interpolate
from service.errors import UnprocessableError

MAX_SEED: Final = 2**63 - 1
# A seed that is drawn is one that every language's JSON can hold, and so are those that follow it.
_DRAWN_BITS: Final = 52

Seed = Annotated[StrictInt, Field(ge=0, le=MAX_SEED)]
AnyFacts = TypeVar("AnyFacts")


class Interpolation(BaseModel):
    """A way through what the model can make up, from the first that one seed gives to the first that another gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_seed: Seed
    to_seed: Seed
    steps: StrictInt = Field(ge=2, description="How many are made, the first and the last among them.")


class Draw(BaseModel):
    """How many are made up, and by which seed; or those on the way between two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[StrictInt, Field(ge=1)] | None = Field(default=None, description="1 if not given.")
    seed: Seed | None = Field(default=None, description="The same seed gives the same ones. One is drawn if not given.")
    interpolate: Interpolation | None = Field(default=None, description="In the place of `count` and `seed`.")

    @property
    def is_repeatable(self) -> bool:
        """Whether no seed is drawn."""
        return self.seed is not None or self.interpolate is not None


AnyDraw = TypeVar("AnyDraw", bound=Draw)


def settle(draw: AnyDraw, max_count: int) -> AnyDraw:
    """``draw`` with its count and its seed, drawn where none is given; or with its way alone.

    Raises:
        UnprocessableError: it asks for more than ``max_count``, or for both.
    """
    way = draw.interpolate
    if way is not None and (draw.count is not None or draw.seed is not None):
        raise UnprocessableError([("interpolate", "expected neither count nor seed beside it")])
    location, count = ("count", draw.count or 1) if way is None else ("interpolate.steps", way.steps)
    if count > max_count:
        raise UnprocessableError([(location, f"{count:,}, expected at most {max_count:,}")])
    if way is not None:
        return draw
    seed = secrets.randbits(_DRAWN_BITS) if draw.seed is None else draw.seed
    return draw.model_copy(update={"count": count, "seed": seed})


def walk(
    steps: int, first: tuple[NDArray[np.float32], AnyFacts], last: tuple[NDArray[np.float32], AnyFacts]
) -> Iterator[tuple[NDArray[np.float32], AnyFacts]]:
    """The noise (size,) of each step from ``first`` to ``last``, with what goes with the end that it is nearer to."""
    for step, z in enumerate(interpolate(first[0], last[0], steps)):
        yield z, (first if 2 * step < steps else last)[1]
