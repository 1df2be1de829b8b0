from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from benchmarks.bodies import CONTENT_TYPES, encode_form, write_bodies

IMAGE = b"\x89PNG\r\n\x1a\n--\r\n\x00"


async def echo(request: Request) -> Response:
    async with request.form() as form:
        part = form["image"]
        assert not isinstance(part, str)
        return Response(await part.read(), media_type=part.content_type)


def test_a_multipart_body_is_read_back_as_the_image() -> None:
    client = TestClient(Starlette(routes=[Route("/", echo, methods=["POST"])]))
    headers = {"Content-Type": CONTENT_TYPES["multipart"]}
    response = client.post("/", content=encode_form(IMAGE), headers=headers)
    assert response.content == IMAGE
    assert response.headers["content-type"] == "image/png"


def test_bodies_are_written_once_for_each_form(tmp_path: Path) -> None:
    write_bodies(tmp_path, {"raw": [IMAGE, b"second"], "multipart": [encode_form(IMAGE)]})
    assert (tmp_path / "raw" / "1").read_bytes() == b"second"
    assert (tmp_path / "multipart" / "0").read_bytes() == encode_form(IMAGE)
