"""The body of a request: read within its limit, and understood as what its Content-Type says it is."""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from service.errors import BadBodyError, TooLargeError, UnprocessableError, UnsupportedMediaTypeError
from service.exchange import Exchange, Receive
from service.problems import list_problems
from service.protocol import TAKE_BODY, TakeBody

# Larger bodies are read off the event loop, whatever is in them.
QUICK_BODY_BYTES: Final = 65_536

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Body(NamedTuple):
    """A request's body and what it is said to be."""

    media_type: str  # in lower case, without parameters
    content_type: bytes  # the whole header
    content: bytes


class Disconnect(Exception):  # noqa: N818  # what a client does, not an error of ours
    """The client closed the connection before its body was complete."""


def declare_size(content_length: bytes | None, max_bytes: int) -> int:
    """The bytes that a body will have at most, before any of it is read.

    Args:
        content_length: the header, which the HTTP parser lets through only as a number, if it is there.
        max_bytes: the bytes of a body at most.

    Raises:
        TooLargeError: the body says that it is larger than ``max_bytes``.
    """
    if content_length is None:
        return max_bytes
    size = int(content_length)
    if size > max_bytes:
        raise TooLargeError(f"the body has {size:,} bytes, expected at most {max_bytes:,}")
    return size


async def read_content(exchange: Exchange, max_bytes: int) -> bytes:
    """The body of a request, of which nothing has been read yet.

    Raises:
        TooLargeError: there come more than ``max_bytes``.
        Disconnect: the client has gone.
    """
    take_body: TakeBody | None = exchange.find_extension(TAKE_BODY)
    content = None if take_body is None else take_body(exchange.scope)
    if content is None:
        return await _receive_content(exchange.receive, max_bytes)
    if len(content) > max_bytes:
        raise _refuse_size(max_bytes)
    return content


async def _receive_content(receive: Receive, max_bytes: int) -> bytes:
    chunks, total = [], 0
    while (message := await receive())["type"] == "http.request":
        chunks.append(message["body"])
        total += len(message["body"])
        if total > max_bytes:
            raise _refuse_size(max_bytes)
        if not message["more_body"]:
            return b"".join(chunks)
    raise Disconnect


def _refuse_size(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body has more than the {max_bytes:,} bytes that are taken")


# Bounded, since clients choose what stands there; a handful of types are all that is ever sent in earnest.
@lru_cache(maxsize=256)
def media_type(content_type: bytes) -> str:
    """The type of a Content-Type header without its parameters. A body without the header is a stream of bytes."""
    return content_type.split(b";", 1)[0].strip().lower().decode("latin-1") or "application/octet-stream"


def check_form(headers: Mapping[bytes, bytes], media_types: Collection[str]) -> str:
    """The media type of a body, which is one that is taken and has no encoding.

    Raises:
        UnsupportedMediaTypeError: it is another, or has one.
    """
    found = media_type(headers.get(b"content-type", b""))
    if found not in media_types:
        raise UnsupportedMediaTypeError(f"the body is '{found[:100]}', expected one of {', '.join(media_types)}")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaTypeError("the body has a Content-Encoding, expected none")
    return found


def read_json(model: type[AnyModel], content: bytes) -> AnyModel:
    """A JSON body, as ``model``.

    Raises:
        BadBodyError: it is not JSON.
        UnprocessableError: it is JSON, but not what ``model`` says.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise BadBodyError(f"the body is not JSON: {first['ctx']['error']}") from error
        raise UnprocessableError(list_problems(error, "")) from error


def read_quickly(model: type[AnyModel], content: bytes, load: Callable[[bytes], object] = orjson.loads) -> AnyModel:
    """As :func:`read_json`, by ``load``.

    By orjson rows of any members take half the time, and NaN and Infinity, which are no JSON, are refused.

    Raises:
        BadBodyError: it is not JSON.
        UnprocessableError: it is JSON, but not what ``model`` says.
    """
    try:
        document = load(content)
    except orjson.JSONDecodeError as error:
        raise BadBodyError(f"the body is not JSON: {error}") from error
    return check_document(model, document)


def check_document(model: type[AnyModel], document: object) -> AnyModel:
    """What was read already, as ``model``.

    Raises:
        UnprocessableError: it is not what ``model`` says.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UnprocessableError(list_problems(error, "")) from error
