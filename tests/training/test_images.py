import gzip
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.image_classifier.pictures import COLOURS, write_folder
from training.errors import DataError
from training.images import decode_image, load_images


def test_a_folder_of_classes_is_split_into_train_validation_and_test(tmp_path: Path) -> None:
    data = load_images(str(write_folder(tmp_path / "colours")), tmp_path, validation_fraction=0.25)
    assert data.labels == tuple(COLOURS)
    assert (len(data.train), len(data.validation), len(data.test)) == (54, 18, 18)
    assert np.bincount(data.validation.labels).tolist() == [6, 6, 6]
    seen = {image.tobytes() for split in (data.train, data.validation, data.test) for image in split.images}
    assert len(seen) == 90


def test_a_folder_with_a_test_split_keeps_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", per_class=10)
    write_folder(tmp_path / "test", per_class=4)
    data = load_images(str(tmp_path), tmp_path, validation_fraction=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 12)


def test_the_same_seed_holds_out_the_same_images(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path / "colours"))
    first, again, other = (load_images(folder, tmp_path, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.validation.images, again.validation.images)
    assert not np.array_equal(first.validation.images, other.validation.images)
    assert first.sha256 == again.sha256


def test_images_of_one_small_square_size_keep_it(tmp_path: Path) -> None:
    data = load_images(str(write_folder(tmp_path / "colours", size=(40, 40))), tmp_path)
    assert data.train.images.shape[1:] == (40, 40, 3)


def test_images_of_mixed_sizes_are_brought_to_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "colours", size=(90, 50))
    Image.new("RGB", (300, 500), "red").save(folder / "red" / "large.jpg")
    assert load_images(str(folder), tmp_path).train.images.shape[1:] == (64, 64, 3)
    assert load_images(str(folder), tmp_path, size=28).train.images.shape[1:] == (28, 28, 3)


def test_a_share_of_the_images_keeps_the_mix_of_classes(tmp_path: Path) -> None:
    data = load_images(str(write_folder(tmp_path / "colours")), tmp_path, max_images=15, validation_fraction=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 3, 15)
    assert np.bincount(data.train.labels).tolist() == [4, 4, 4]


def test_an_unreadable_file_is_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "colours")
    whole = (folder / "red" / "0.png").read_bytes()
    (folder / "red" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "red" / "notes.txt").write_text("not a picture")
    with caplog.at_level(logging.WARNING):
        data = load_images(str(folder), tmp_path)
    assert len(data.train) + len(data.validation) + len(data.test) == 90
    assert "broken.png" in caplog.text
    assert "notes.txt" in caplog.text


def test_too_many_unreadable_files_are_an_error_that_names_the_last(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "colours")
    for number in range(3):
        (folder / "red" / f"x{number}.png").write_text("nothing")
    with pytest.raises(DataError, match=r"3 unreadable files, expected at most 2; the last is .*x2\.png"):
        load_images(str(folder), tmp_path, max_unreadable=2)


@pytest.mark.parametrize("classes", [[], ["cat"]])
def test_fewer_than_two_classes_are_an_error(tmp_path: Path, classes: list[str]) -> None:
    folder = tmp_path / "pets"
    folder.mkdir()
    for name in classes:
        (folder / name).mkdir()
    with pytest.raises(DataError, match=f"holds {len(classes)} folders, expected at least 2"):
        load_images(str(folder), tmp_path)


def test_one_class_is_enough_where_it_is_allowed(tmp_path: Path) -> None:
    write_folder(tmp_path / "colours")
    (tmp_path / "reds").mkdir()
    (tmp_path / "colours" / "red").rename(tmp_path / "reds" / "red")
    data = load_images(str(tmp_path / "reds"), tmp_path, min_classes=1)
    assert data.labels == ("red",)
    assert len(data.train) + len(data.validation) + len(data.test) == 30


def test_an_empty_class_is_an_error_that_names_its_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "colours")
    (folder / "violet").mkdir()
    with pytest.raises(DataError, match=r"violet' holds no readable image"):
        load_images(str(folder), tmp_path)


def test_what_is_neither_a_name_nor_a_folder_is_an_error_that_lists_the_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'cifar11' is none of cifar10, mnist, fashion_mnist and no folder"):
        load_images("cifar11", tmp_path)


def test_too_few_images_to_hold_some_out_are_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "colours", per_class=5)
    with pytest.raises(DataError, match="expected at least one of each of 3 classes"):
        load_images(str(folder), tmp_path, validation_fraction=0.1)


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "colours")
    (folder / "violet").mkdir()
    (folder / "red" / "0.png").rename(folder / "violet" / "0.png")
    with pytest.raises(DataError, match="the rarest class has 1: expected at least one of each of 4 classes"):
        load_images(str(folder), tmp_path)


def test_a_named_set_is_read_from_a_folder_in_the_cache(tmp_path: Path) -> None:
    write_folder(tmp_path / "cifar10" / "train", per_class=20)
    write_folder(tmp_path / "cifar10" / "test", per_class=5)
    data = load_images("cifar10", tmp_path, validation_fraction=0.1)
    assert (data.name, len(data.train), len(data.test)) == ("cifar10", 54, 15)


def test_mnist_is_read_from_the_files_of_its_download(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
        for name in ("images-idx3", "labels-idx1"):
            (raw / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(b""))
    data = load_images("mnist", tmp_path, validation_fraction=0.2)
    assert data.labels[:2] == ("zero", "one")
    assert data.train.images.shape == (48, 28, 28, 1)
    assert data.preprocessing.channels == 1


def test_every_mode_is_decoded_to_colour(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        path = tmp_path / f"{mode}.png"
        Image.new("RGB", (7, 5), "white").convert(mode).save(path)
        assert (decode_image(path) == np.full((5, 7, 3), 255)).all()
    path = tmp_path / "ink.jpg"
    Image.new("CMYK", (7, 5), (0, 0, 0, 0)).save(path, quality=95)
    assert decode_image(path).min() > 250


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    levels = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert decode_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_shows_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode_image(tmp_path / "clear.png") == 255).all()


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    picture = Image.new("RGB", (10, 4), "white")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert decode_image(tmp_path / "turned.jpg").shape == (10, 4, 3)
