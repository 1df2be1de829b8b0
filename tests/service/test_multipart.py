"""Bodies of multipart/form-data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies import Body, media_type
from service.errors import BadBodyError, UnprocessableError
from service.multipart import read_parts

HEAD = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


def read(content: bytes, content_type: bytes = b"multipart/form-data; boundary=x-y", max_parts: int = 3) -> list[bytes]:
    return read_parts(Body(media_type(content_type), content_type, content), "image", max_parts)


def join(*parts: bytes, head: bytes = HEAD) -> bytes:
    return b"".join(b"--x-y\r\n" + head + part + b"\r\n" for part in parts) + b"--x-y--\r\n"


@given(st.lists(st.binary(max_size=64).filter(lambda part: b"--x-y" not in part), max_size=3))
def test_parts_come_back_as_they_were(parts: list[bytes]) -> None:
    assert read(join(*parts)) == parts


@pytest.mark.parametrize("part", [b"", b"\r\n", b"\r\n\r\n", b"--", b"\r\n--", b"\r\n--x-", b"--x", b"\r\n\r\n--x"])
def test_what_looks_like_the_form_may_stand_in_a_part(part: bytes) -> None:
    assert read(join(part, part)) == [part, part]


def test_what_stands_before_and_behind_the_parts_is_not_read() -> None:
    assert read(b"before\r\n" + join(b"a", b"b") + b"behind\r\n--x-y\r\n") == [b"a", b"b"]


@pytest.mark.parametrize(
    "content_type",
    [
        b'multipart/form-data; boundary="x-y"',
        b"Multipart/Form-Data;boundary=x-y",
        b"multipart/form-data; charset=utf-8; Boundary=x-y ; more=1",
    ],
)
def test_a_boundary_may_be_written_in_several_ways(content_type: bytes) -> None:
    assert read(join(b"a"), content_type) == [b"a"]


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary="',
        b"multipart/form-data; noboundary=x-y",
        b"multipart/form-data; boundary=" + b"x" * 71,
    ],
)
def test_a_content_type_without_a_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadBodyError, match="no boundary of 1 to 70 characters"):
        read(join(b"a"), content_type)


@pytest.mark.parametrize(
    "head",
    [
        b'content-disposition: form-data; name="image"\r\n\r\n',
        b"CONTENT-DISPOSITION:form-data; name=image\r\n\r\n",
        b'Content-Type: image/png\r\nContent-Disposition: form-data; filename="name=\\"x\\""; name="image"\r\n\r\n',
    ],
)
def test_a_name_may_be_written_in_several_ways(head: bytes) -> None:
    assert read(join(b"a", head=head)) == [b"a"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            b'Content-Disposition: form-data; name="photo"\r\n\r\n',
            r"images\[0\]: has the name 'photo', expected 'image'",
        ),
        (b"Content-Disposition: form-data; name=\xff\r\n\r\n", "expected 'image'"),
        (b"Content-Disposition: form-data\r\n\r\n", r"images\[0\]: has no name"),
        (b"Content-Type: image/png\r\n\r\n", r"images\[0\]: has no name"),
        (b"\r\n", r"images\[0\]: has no name"),
    ],
)
def test_a_part_of_another_name_is_refused(head: bytes, message: str) -> None:
    with pytest.raises(UnprocessableError, match=message):
        read(join(b"a", head=head))


def test_there_is_a_limit_to_parts() -> None:
    with pytest.raises(UnprocessableError, match="images: expected at most 3 parts"):
        read(join(b"a", b"b", b"c", b"d"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no boundary"),
        (b"--x-z--", "it has no boundary"),
        (join(b"a")[:-4], "a boundary is not followed by the end of its line"),
        (b"--x-y\r\n" + HEAD + b"a", "it ends before its last boundary"),
        (b"--x-y\r\n" + HEAD[:-2], "it ends within the headers of a part"),
        (b"--x-y\r\nheader\r\n\r\na\r\n--x-y--", "a part has a line among its headers that is none"),
        (
            b"--x-y\r\nh: " + b"a" * 9000 + b"\r\n\r\na\r\n--x-y--",
            "a part has 9,003 bytes of headers, expected at most 8,192",
        ),
    ],
)
def test_a_body_that_is_not_whole_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(BadBodyError, match=message):
        read(content)
