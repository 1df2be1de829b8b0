"""Pixels of any shape become what the network reads."""

import numpy as np
import pytest

from models.image import ImagePreprocessing, Pixels, fit_image


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_of_the_right_size_keeps_its_values() -> None:
    pixels = noise(32, 32)
    fitted = fit_image(pixels, ImagePreprocessing(height=32, width=32, channels=3))
    assert np.array_equal(fitted, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (31, 33), (64, 48), (2000, 3)])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_shape_fits(shape: tuple[int, int], fit: str, channels: int) -> None:
    preprocessing = ImagePreprocessing.model_validate({"height": 28, "width": 32, "channels": channels, "fit": fit})
    fitted = fit_image(noise(*shape), preprocessing)
    assert fitted.shape == (28, 32, channels)
    assert fitted.dtype == np.uint8
    assert fitted.flags.c_contiguous


def test_cropping_keeps_the_middle() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert np.all(fit_image(pixels, ImagePreprocessing(height=10, width=10, channels=3)) == 255)


def test_stretching_keeps_everything() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    fitted = fit_image(pixels, ImagePreprocessing(height=10, width=15, channels=3, fit="stretch"))
    assert np.all(fitted[:, :5] == 0)
    assert np.all(fitted[:, 5:10] == 255)


def test_shrinking_averages_so_that_nothing_aliases() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    fitted = fit_image(stripes, ImagePreprocessing(height=32, width=32, channels=3))
    assert np.all(np.abs(fitted.astype(int) - 128) <= 1)


def test_one_channel_is_luma() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, :] = (255, 0, 0)
    fitted = fit_image(pixels, ImagePreprocessing(height=4, width=4, channels=1))
    assert np.all(fitted == round(0.299 * 255))
