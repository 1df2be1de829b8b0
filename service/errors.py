"""Every way in which a request can fail, and the one shape in which a client hears of it.

RequestError
├── BadBodyError               400  the body is not what its Content-Type says
├── UnauthorizedError          401  keys are needed, and the request has none or an unknown one
├── ForbiddenError             403  the request's key has not the right that the route needs
├── NotFoundError              404  no such route, model or version
├── MethodNotAllowedError      405  the route exists, for other methods
├── ConflictError              409  not as things stand
├── TooLargeError              413  over a size limit
├── UnsupportedMediaTypeError  415  a media type that the route does not take
├── UnprocessableError         422  well-formed but not acceptable; says what is wrong where
├── TooManyRequestsError       429  over this client's rate limit; says when to come again
├── InternalError              500  a fault of the service, which no input should bring about; its log says more
├── OverloadedError            503  over capacity or not ready; says when to come again
└── DeadlineError              504  the request's deadline passed; its work was dropped
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import orjson

Problem = tuple[str, str]  # (location, message)


class RequestError(Exception):
    """A request that gets no answer but a problem (RFC 9457). ``detail`` is written for the client to read."""

    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def problems(self) -> Sequence[Problem]:
        """What is wrong where, for errors that have a place in the request."""
        return ()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that this error's answer carries beside the usual ones, names in lower case."""
        return []

    def to_json(self, request_id: str, *, repeat_as: str | None = None) -> bytes:
        """The error as ``application/problem+json``; a further member ``repeat_as`` has the detail once more."""
        return describe_problem(self.status, self.title, self.detail, self.problems, request_id, repeat_as=repeat_as)


def describe_problem(
    status: int,
    title: str,
    detail: str,
    problems: Sequence[Problem],
    request_id: str,
    *,
    repeat_as: str | None = None,
) -> bytes:
    """A failure as ``application/problem+json`` (RFC 9457)."""
    problem: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if problems:
        problem["errors"] = [{"location": location, "message": message} for location, message in problems]
    problem["request_id"] = request_id
    if repeat_as is not None:
        problem[repeat_as] = detail
    return orjson.dumps(problem)


class BadBodyError(RequestError):
    """The body is not what its Content-Type says."""

    status = 400
    title = "Bad Request"


class UnauthorizedError(RequestError):
    """Keys are needed, and the request has none, or with ``unknown`` one that is not known."""

    status = 401
    title = "Unauthorized"

    def __init__(self, detail: str, *, unknown: bool) -> None:
        super().__init__(detail)
        self.unknown = unknown

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``WWW-Authenticate``, as RFC 6750 asks."""
        error = b', error="invalid_token"' if self.unknown else b""
        return [(b"www-authenticate", b'Bearer realm="modelyard"' + error)]


class ForbiddenError(RequestError):
    """The request's key has not the right that the route needs: ``right``."""

    status = 403
    title = "Forbidden"

    def __init__(self, detail: str, right: str) -> None:
        super().__init__(detail)
        self.right = right

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``WWW-Authenticate``, as RFC 6750 asks."""
        value = f'Bearer realm="modelyard", error="insufficient_scope", scope="{self.right}"'
        return [(b"www-authenticate", value.encode())]


class NotFoundError(RequestError):
    """No such route, model or version."""

    status = 404
    title = "Not Found"


class MethodNotAllowedError(RequestError):
    """The route exists, for other methods: those in ``allowed``."""

    status = 405
    title = "Method Not Allowed"

    def __init__(self, detail: str, allowed: Sequence[str]) -> None:
        super().__init__(detail)
        self.allowed = allowed

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``Allow``, as RFC 9110 asks."""
        return [(b"allow", ", ".join(self.allowed).encode())]


class ConflictError(RequestError):
    """Not as things stand."""

    status = 409
    title = "Conflict"


class TooLargeError(RequestError):
    """Over a size limit."""

    status = 413
    title = "Content Too Large"


class UnsupportedMediaTypeError(RequestError):
    """A media type that the route does not take."""

    status = 415
    title = "Unsupported Media Type"


class UnprocessableError(RequestError):
    """Well-formed but not acceptable. Each problem is (location, message), as in ``("images[1]", "is no image")``."""

    status = 422
    title = "Unprocessable Content"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{location}: {message}" for location, message in problems))
        self._problems = tuple(problems)

    @property
    def problems(self) -> Sequence[Problem]:
        """What is wrong where."""
        return self._problems


class TooManyRequestsError(RequestError):
    """Over this client's rate limit: it may come again after ``retry_after_seconds``."""

    status = 429
    title = "Too Many Requests"

    def __init__(self, detail: str, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``Retry-After`` in whole seconds, at least one."""
        return [_retry_after(self.retry_after_seconds)]


class InternalError(RequestError):
    """A fault of the service: what happened is in its log, under the request's id."""

    status = 500
    title = "Internal Server Error"


class OverloadedError(RequestError):
    """Over capacity, or not ready yet: the client may come again after ``retry_after_seconds``."""

    status = 503
    title = "Service Unavailable"

    def __init__(self, detail: str, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``Retry-After`` in whole seconds, at least one."""
        return [_retry_after(self.retry_after_seconds)]


class DeadlineError(RequestError):
    """The request's deadline passed; its work was dropped."""

    status = 504
    title = "Gateway Timeout"


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, math.ceil(seconds))
