"""The part of a request's address behind the question mark."""

from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import UnprocessableError
from service.problems import list_problems

_MAX_PARAMETERS = 16


class Query(BaseModel):
    """What every prediction request may carry in its query."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int | None = Field(
        default=None, ge=1, description="The loaded version to ask; the default version if not given."
    )


AnyQuery = TypeVar("AnyQuery", bound=Query)


# Clients repeat their queries, and an answer depends on the query's bytes alone.
@lru_cache(maxsize=1024)
def read_query(model: type[AnyQuery], query_string: bytes) -> AnyQuery:
    """The query of a request, as ``model``.

    Raises:
        UnprocessableError: a parameter is unknown, stands twice, or has a value that it cannot have.
    """
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise UnprocessableError([("query", f"expected at most {_MAX_PARAMETERS} parameters")]) from error
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise UnprocessableError([("query", "a parameter stands more than once")])
    try:
        return model.model_validate_strings(parameters)
    except ValidationError as error:
        raise UnprocessableError(list_problems(error, "query")) from error
