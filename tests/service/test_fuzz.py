"""No body, type or query that a client can think of is answered with a fault of the service."""

import base64
import json
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.kinds.image_classifier import MEDIA_TYPES
from tests.service.test_classify import PNG
from tests.versions import encode, plain_picture

FILES = [PNG, *(encode(plain_picture((9, 99, 199)), name) for name in ("JPEG", "WEBP", "BMP", "GIF"))]
FORM = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n' + PNG + b"\r\n--x--\r\n"
JSON = json.dumps({"images": [base64.b64encode(PNG).decode()]}).encode()
EXPECTED = {200, 400, 404, 413, 415, 422}

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """A good body with some bytes changed, cut out or put in."""
    body = bytearray(draw(st.sampled_from([*FILES, FORM, JSON])))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 40)))
        body[start:end] = draw(st.binary(max_size=40))
    return bytes(body)


def check_answer(answer: httpx.Response) -> None:
    assert answer.status_code in EXPECTED, answer.text
    assert answer.json()
    assert "x-request-id" in answer.headers


@fuzz
@given(body=damaged_bodies(), media_type=st.sampled_from(sorted(MEDIA_TYPES)))
def test_damaged_bodies(client: httpx.Client, body: bytes, media_type: str) -> None:
    content_type = f"{media_type}; boundary=x" if media_type == "multipart/form-data" else media_type
    check_answer(client.post("/classify", content=body, headers={"content-type": content_type}))


@fuzz
@given(body=st.binary(max_size=300), content_type=st.binary(max_size=60))
def test_any_body_of_any_type(client: httpx.Client, body: bytes, content_type: bytes) -> None:
    headers = {b"content-type": bytes(byte for byte in content_type if byte >= 32 and byte != 127).strip()}
    check_answer(client.post("/classify", content=body, headers=headers))


@fuzz
@given(query=st.text(max_size=60))
def test_any_query(client: httpx.Client, query: str) -> None:
    address = "/classify?" + quote(query, safe="=&%+;#")
    check_answer(client.post(address, content=PNG, headers={"content-type": "image/png"}))


@fuzz
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["images", "top_k", ""]), inner, max_size=3)
        ),
    )
)
def test_any_json(client: httpx.Client, content: object) -> None:
    body = json.dumps(content).encode()
    check_answer(client.post("/classify", content=body, headers={"content-type": "application/json"}))
