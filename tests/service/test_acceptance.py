"""Which form of answer a client gets for its Accept header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.acceptance import choose_media_type

OFFERED = ("application/json", "image/png", "image/webp")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", "application/json"),
        (b"*/*", "application/json"),
        (b"image/png", "image/png"),
        (b"image/webp", "image/webp"),
        (b"image/*", "image/png"),
        (b"image/*, image/webp", "image/webp"),
        (b"image/*;q=0.9, image/webp;q=0.8", "image/png"),
        (b"text/html, image/png;q=0.2, */*;q=0.1", "image/png"),
        (b"image/png;q=0, */*", "application/json"),
        (b"application/json;q=0, */*", "image/png"),
        (b"IMAGE/PNG ; Q=1.0", "image/png"),
        (b"image/png;q=x", "application/json"),
        (b"image/png;q=2", "application/json"),
        (b"image/png;q=nan", "application/json"),
        (b"text/html", "application/json"),
        (b",;,/", "application/json"),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_the_form_that_the_client_likes_best_is_chosen(accept: bytes, expected: str) -> None:
    assert choose_media_type(accept, OFFERED) == expected


@given(st.binary(max_size=80) | st.text(alphabet="aimgepn/*;q=.01, ", max_size=40).map(str.encode))
def test_any_header_leads_to_a_form_that_there_is(accept: bytes) -> None:
    assert choose_media_type(accept, OFFERED) in OFFERED
