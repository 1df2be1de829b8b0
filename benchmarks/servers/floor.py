"""The floor: a bare ASGI application that reads the body and answers with fixed bytes, those of a real answer.

The path says which: ``/<name of a file in the folder of answers>``.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

ANSWERS_VARIABLE = "BENCHMARK_ANSWERS"

Message = MutableMapping[str, Any]


def _load() -> dict[str, tuple[bytes, list[tuple[bytes, bytes]]]]:
    answers = {}
    for path in Path(os.environ.get(ANSWERS_VARIABLE, os.devnull)).glob("*"):
        content = path.read_bytes()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        answers[f"/{path.name}"] = content, headers
    return answers


_ANSWERS = _load()


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every HTTP request to the same path alike."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    content, headers = _ANSWERS[scope["path"]]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
