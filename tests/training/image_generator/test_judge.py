from pathlib import Path

import numpy as np
from accelerate import Accelerator

from training.image_generator.judge import FEATURES, accuracy, read, train_judge
from training.images import Split, load_images


def test_a_judge_learns_to_tell_the_classes_apart(colours: Path, tmp_path: Path) -> None:
    data = load_images(str(colours), tmp_path, validation_fraction=0.2)
    judge = train_judge(data.train, len(data.labels), 10, 0, Accelerator())
    found = read(judge, data.test.images)
    assert found.features.shape == (24, FEATURES)
    assert accuracy(found, data.test.labels) > 0.9


def test_the_same_seed_gives_the_same_judge(colours: Path, tmp_path: Path) -> None:
    data = load_images(str(colours), tmp_path, validation_fraction=0.2)
    features = [read(train_judge(data.train, 3, 1, seed, Accelerator()), data.test.images)[0] for seed in (4, 4, 5)]
    assert np.array_equal(features[0], features[1])
    assert not np.array_equal(features[0], features[2])


def test_of_one_class_a_judge_learns_which_way_up_it_stands() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 40, (200, 8, 8, 1), dtype=np.uint8)
    images[:, :3] += np.uint8(200)  # bright above
    judge = train_judge(Split(images, np.zeros(200, np.int64)), 1, 12, 0, Accelerator())
    assert (read(judge, images).classes == 0).mean() > 0.9
    assert (read(judge, np.rot90(images, 2, (1, 2)).copy()).classes == 2).mean() > 0.9
