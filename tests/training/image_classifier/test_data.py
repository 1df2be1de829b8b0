from pathlib import Path

import numpy as np
import pytest

from tests.training.image_classifier.pictures import write_folder
from training.command import build_config
from training.errors import DataError
from training.image_classifier.data import load_data, pixel_statistics
from training.image_classifier.train import RECIPES, Config


def test_pixels_are_normalised_by_those_of_the_training_images(tmp_path: Path) -> None:
    config = build_config(
        Config, RECIPES, {"data": str(write_folder(tmp_path / "colours")), "image_size": 16, "validation_fraction": 0.2}
    )
    images = load_data(config, tmp_path).train.images
    mean, deviation = pixel_statistics(config, images)
    assert np.allclose(mean.flatten(), images.reshape(-1, 3).mean(axis=0))
    assert np.allclose(deviation.flatten(), images.reshape(-1, 3).std(axis=0))


def test_one_class_is_no_task_for_a_classifier(tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    config = build_config(Config, RECIPES, {"data": str(tmp_path)})
    with pytest.raises(DataError, match="holds 1 folders, expected at least 2"):
        load_data(config, tmp_path)
