"""The floor: a bare ASGI application that reads the body and answers fixed bytes, as many as a real answer has."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from benchmarks.servers.model import Model

Message = MutableMapping[str, Any]

model = Model.from_environment()
TOP = [{"label": label, "probability": 0.12345678} for label in model.labels[:5]]
ANSWER = json.dumps({"predictions": [{**TOP[0], "top": TOP}]}).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every HTTP request alike."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
