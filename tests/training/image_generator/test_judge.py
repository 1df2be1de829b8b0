from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from training.image_generator.data import to_signed
from training.image_generator.judge import FEATURES, Recipe, accuracy, read, train_judge
from training.images import Split, load_images, to_tensor


def test_a_judge_learns_to_tell_the_classes_apart(colours: Path, tmp_path: Path) -> None:
    data = load_images(str(colours), tmp_path, validation_fraction=0.2)
    judge = train_judge(data.train, len(data.labels), Recipe(10), 0, Accelerator())
    found = read(judge, data.test.images)
    assert found.features.shape == (24, FEATURES)
    assert accuracy(found, data.test.labels) > 0.9


def test_the_same_seed_gives_the_same_judge(colours: Path, tmp_path: Path) -> None:
    data = load_images(str(colours), tmp_path, validation_fraction=0.2)
    features = [
        read(train_judge(data.train, 3, Recipe(1), seed, Accelerator()), data.test.images)[0] for seed in (4, 4, 5)
    ]
    assert np.array_equal(features[0], features[1])
    assert not np.array_equal(features[0], features[2])


def test_a_judge_that_learns_mirrored_images_cannot_tell_an_image_from_its_mirror_image() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 40, (200, 12, 12, 1), dtype=np.uint8)
    images[:, range(12), range(12)] = 250
    images[100:] = images[100:, :, ::-1]
    split = Split(images, np.repeat([0, 1], 100))
    judges = [train_judge(split, 2, Recipe(8, flip), 0, Accelerator()) for flip in (False, True)]
    plain, mirrored = (accuracy(read(judge, images), split.labels) for judge in judges)
    assert plain > 0.95
    assert mirrored < 0.75


def test_a_judge_is_as_sure_as_it_is_to_be() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 40, (200, 8, 8, 1), dtype=np.uint8)
    images[100:] += np.uint8(200)
    split = Split(images, np.repeat([0, 1], 100))
    pixels = to_signed(to_tensor(images))
    sure = []
    for smoothing in (0.0, 0.3):
        judge = train_judge(split, 2, Recipe(60, label_smoothing=smoothing), 0, Accelerator())
        with torch.no_grad():
            sure.append(judge(pixels)[1].softmax(1).amax(1).mean())
    assert sure[0] > 0.97
    assert 0.75 < sure[1] < 0.95


def test_of_one_class_a_judge_learns_which_way_up_it_stands() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 40, (200, 8, 8, 1), dtype=np.uint8)
    images[:, :3] += np.uint8(200)  # bright above
    judge = train_judge(Split(images, np.zeros(200, np.int64)), 1, Recipe(12), 0, Accelerator())
    assert (read(judge, images).classes == 0).mean() > 0.9
    assert (read(judge, np.rot90(images, 2, (1, 2)).copy()).classes == 2).mean() > 0.9
