"""A PNG file that is written while its rows come is read as what was written, by every reader."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from service.images import decode_image
from service.png import PngWriter, encode_png, make_text

SHAPES = [(1, 1, 1), (1, 1, 3), (28, 28, 1), (7, 300, 3), (300, 7, 1), (64, 64, 3)]


def draw_pixels(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def read(file: bytes) -> tuple[NDArray[Any], dict[str, Any]]:
    with Image.open(io.BytesIO(file)) as picture:
        assert isinstance(picture, PngImagePlugin.PngImageFile)
        pixels = np.asarray(picture)
        return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis], dict(picture.text)


def list_chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """The parts of a file, each with a checksum that is right."""
    chunks, place = [], 8
    while place < len(file):
        (size,) = struct.unpack_from(">I", file, place)
        name, content = file[place + 4 : place + 8], file[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", file, place + 8 + size) == (zlib.crc32(name + content),)
        chunks.append((name, content))
        place += size + 12
    return chunks


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_come_back_from_three_readers(shape: tuple[int, int, int]) -> None:
    pixels = draw_pixels(shape)
    file = encode_png(pixels)
    assert np.array_equal(read(file)[0], pixels)
    by_opencv = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert by_opencv is not None
    assert np.array_equal(by_opencv[:, :, : shape[2]], pixels)
    assert np.array_equal(decode_image(file, 1_000_000)[:, :, : shape[2]], pixels)


@pytest.mark.parametrize("rows", [1, 3, 100, 5000])
def test_rows_may_come_in_any_parts(rows: int) -> None:
    pixels = draw_pixels((2000, 40, 3))
    writer = PngWriter(pixels.shape)
    parts = [writer.feed(pixels[start : start + rows]) for start in range(0, 2000, rows)]
    file = writer.begin() + b"".join(parts) + writer.finish()
    assert np.array_equal(read(file)[0], pixels)
    if rows == 1:
        assert sum(bool(part) for part in parts) > 4  # written while the rows come
        assert sum(not part for part in parts) > 1900  # and not in crumbs


def test_what_repeats_from_row_to_row_is_small() -> None:
    assert len(encode_png(np.full((1000, 1000, 1), 200, np.uint8))) < 10_000


def test_grey_is_grey_and_colour_is_rgb() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        with Image.open(io.BytesIO(encode_png(draw_pixels((4, 4, channels))))) as picture:
            assert picture.mode == mode


def test_texts_of_any_characters_stand_before_the_pixels() -> None:
    text = make_text("Comment", 'Stövel "人"\n') + make_text("Software", "")
    file = encode_png(draw_pixels((3, 3, 1)), text)
    assert read(file)[1] == {"Comment": 'Stövel "人"\n', "Software": ""}
    assert [name for name, _ in list_chunks(file)] == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]


def test_every_part_has_its_checksum() -> None:
    chunks = list_chunks(encode_png(draw_pixels((100, 100, 3))))
    assert zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))[0] == 2
