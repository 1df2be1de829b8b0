"""Answers that are pictures: where each stands in a grid, and what each says of itself."""

import base64
import io
import json
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from service.encoders import Encoder
from service.pictures import GridEncoder, PicturesEncoder, make_mark

HEIGHT, WIDTH = 5, 3
GAP = 2


def draw_pictures(count: int, channels: int) -> NDArray[np.uint8]:
    """Pictures (count, height, width, channels) without white."""
    return np.random.default_rng(count).integers(0, 255, (count, HEIGHT, WIDTH, channels), np.uint8)


def encode(encoder: Encoder, pictures: NDArray[np.uint8], size: int) -> bytes:
    predictions = [{"seed": seed, "pixels": pixels} for seed, pixels in enumerate(pictures)]
    parts = [predictions[start : start + size] for start in range(0, len(predictions), size)]
    return encoder.begin() + b"".join(encoder.feed(part) for part in parts) + encoder.finish()


def read(file: bytes) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The pixels, (height, width, channels), and the texts."""
    with Image.open(io.BytesIO(file)) as picture:
        assert isinstance(picture, PngImagePlugin.PngImageFile)
        return np.atleast_3d(np.array(picture)), dict(picture.text)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("count", "columns", "rows"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2), (5, 3, 2), (7, 3, 3), (64, 8, 8), (65, 9, 8), (1000, 32, 32)],
)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_grid_is_near_square_and_has_each_picture_in_its_place(
    count: int, columns: int, rows: int, channels: int, size: int
) -> None:
    pictures = draw_pictures(count, channels)
    grid, _ = read(encode(GridEncoder(count, (HEIGHT, WIDTH, channels), b"", ()), pictures, size))
    assert grid.shape == (rows * (HEIGHT + GAP) - GAP, columns * (WIDTH + GAP) - GAP, channels)
    for place, pixels in enumerate(pictures):
        top, left = place // columns * (HEIGHT + GAP), place % columns * (WIDTH + GAP)
        assert np.array_equal(grid[top : top + HEIGHT, left : left + WIDTH], pixels)
        grid[top : top + HEIGHT, left : left + WIDTH] = 255
    assert (grid == 255).all()


def test_a_grid_is_written_while_its_pictures_come() -> None:
    count = 4096
    encoder = GridEncoder(count, (HEIGHT, WIDTH, 3), b"", ())
    encoder.begin()
    half = [{"pixels": pixels} for pixels in draw_pictures(count // 2, 3)]
    assert sum(len(encoder.feed(half[start : start + 64])) for start in range(0, len(half), 64)) > 60_000


@pytest.mark.parametrize("size", [1, 3, 8])
def test_json_has_a_file_in_the_place_of_pixels(size: int) -> None:
    pictures = draw_pictures(8, 1)
    encoder = PicturesEncoder({"model": "x"}, "images", (HEIGHT, WIDTH, 1), lambda facts: make_mark({"n": facts}))
    answer = orjson.loads(encode(encoder, pictures, size))
    assert answer["model"] == "x"
    for seed, (image, pixels) in enumerate(zip(answer["images"], pictures, strict=True)):
        assert list(image) == ["seed", "png"]
        assert image["seed"] == seed
        found, texts = read(base64.b64decode(image["png"]))
        assert np.array_equal(found, pixels)
        assert json.loads(texts["Comment"]) == {"synthetic": True, "n": {"seed": seed}}


def test_a_mark_says_in_three_ways_that_a_picture_is_synthetic() -> None:
    _, texts = read(
        encode(GridEncoder(1, (HEIGHT, WIDTH, 1), make_mark({"label": "Stövel"}), ()), draw_pictures(1, 1), 1)
    )
    assert texts["Software"].startswith("Modelyard ")
    assert json.loads(texts["Comment"]) == {"synthetic": True, "label": "Stövel"}
    assert "digitalsourcetype/trainedAlgorithmicMedia" in texts["XML:com.adobe.xmp"]


@pytest.mark.parametrize(("side", "channels", "inline", "in_thread"), [(28, 1, 16, 64), (64, 3, 4, 16), (512, 3, 0, 1)])
def test_many_or_large_files_are_made_in_a_thread(side: int, channels: int, inline: int, in_thread: int) -> None:
    encoder = PicturesEncoder({}, "images", (side, side, channels), lambda _: b"")
    assert inline <= encoder.quick_predictions < in_thread
