"""What pydantic found wrong, as a client reads it: where, what value, what was expected."""

import re

import orjson
from pydantic import ValidationError

from service.errors import Problem

MAX_PROBLEMS = 20
_MAX_VALUE_CHARACTERS = 60
_JSON_NAMES = {"tuple": "list", "Tuple": "List", "dictionary": "object"}


def list_problems(error: ValidationError, root: str) -> list[Problem]:
    """The first problems of ``error``, each with its place below ``root``: ``images[1]``, ``query.top_k``."""
    problems = error.errors(include_url=False, include_context=False)
    # pydantic leaves an item that is at fault out of its list, and then finds the list too short.
    at_fault = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    return [
        (_locate(problem["loc"], root), _describe(problem["type"], problem["msg"], problem["input"]))
        for problem in problems
        if not (problem["type"] == "too_short" and problem["loc"] in at_fault)
    ][:MAX_PROBLEMS]


def shorten(text: str) -> str:
    """What is shown of a value that a client sent."""
    return text if len(text) <= _MAX_VALUE_CHARACTERS else text[:_MAX_VALUE_CHARACTERS] + "…"


def _locate(path: tuple[int | str, ...], root: str) -> str:
    location = root
    for part in path:
        location += f"[{part}]" if isinstance(part, int) else f".{part}" if location else part
    return location or "body"


def _describe(kind: str, message: str, value: object) -> str:
    if kind == "extra_forbidden":
        return "unknown, expected no such field"
    if kind == "missing":
        return "missing"
    text = _write(value)
    shown = shorten(text)
    message = re.sub(r"^(Value error, |Input )", "", message)
    if kind != "value_error":
        message = re.sub(r"\b(tuple|Tuple|dictionary)\b", lambda found: _JSON_NAMES[found[0]], message)
    return f"{shown} {message}" if message.startswith(("should", "is")) else f"{shown}: {message}"


def _write(value: object) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:  # nested more deeply than it can be written, though it could be read
        return "…"
