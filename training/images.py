"""Images by class: the named public sets, or any folder with one sub-folder for each class."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.image import FORMATS, ImagePreprocessing, fit_image, read_pixels
from training.errors import DataError
from training.splits import hold_out

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]  # (count, height, width, channels)
Labels = NDArray[np.int64]  # (count,)

NAMED = {
    "cifar10": torchvision.datasets.CIFAR10,
    "mnist": torchvision.datasets.MNIST,
    "fashion_mnist": torchvision.datasets.FashionMNIST,
}
DEFAULT_SIZE = 64
LARGEST_NATIVE_SIZE = 96
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Split:
    """Images with the index of their class."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Split":
        """Some of them."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class ImageData:
    """What a network is trained, chosen and tested on. ``sha256`` digests the training images and labels."""

    name: str
    source: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    preprocessing: ImagePreprocessing
    sha256: str


def load_images(
    data: str,
    cache: Path,
    *,
    size: int = 0,
    max_images: int = 0,
    validation_fraction: float = 0.1,
    max_unreadable: int = 10,
    min_classes: int = 2,
    seed: int = 0,
) -> ImageData:
    """Load a named set or a folder of images by class.

    Args:
        data: ``cifar10``, ``mnist``, ``fashion_mnist``, or a folder ``DIR/<class>/*``, with or without ``DIR/train``
            and ``DIR/test``. A named set that stands in the cache as such a folder is read from there, else
            torchvision downloads it and checks its digest.
        cache: where downloads are kept.
        size: the side in pixels to which images are brought; 0: their own where all have the same square one of
            at most 96, else 64.
        max_images: how many of the training and of the test images are used, in equal shares of the classes; 0: all.
        validation_fraction: the share of the training images held out to watch and stop the training.
        max_unreadable: how many unreadable files of a folder are skipped, by name in the log, before it is an error.
        min_classes: how many classes a folder holds at least.
        seed: decides which images are held out.

    Raises:
        DataError: no images, fewer than ``min_classes``, an empty class, or too many unreadable files.
    """
    folder = cache / data if data in NAMED and (cache / data / "train").is_dir() else Path(data)
    if data in NAMED and not folder.is_dir():
        labels, train, test, source = _download(data, cache)
        preprocessing = _preprocessing(train.images, size)
        train, test = (Split(_fit(split.images, preprocessing), split.labels) for split in (train, test))
    else:
        labels, train, test, preprocessing = _read_folder(folder, size, max_unreadable, min_classes, seed)
        source = data if data in NAMED else folder.name
    if max_images:
        train, test = (_sample(split, max_images, seed) for split in (train, test))
    digest = hashlib.sha256(train.images.tobytes() + train.labels.tobytes()).hexdigest()
    train, validation = _hold_out(train, validation_fraction, seed, f"validation_fraction: {validation_fraction}")
    return ImageData(
        data if data in NAMED else folder.name, source, labels, train, validation, test, preprocessing, digest
    )


def decode_image(path: Path) -> Images:
    """Decode a file as the service does: (height, width, 3) RGB.

    Raises:
        OSError: the file is no readable image.
    """
    with Image.open(path, formats=FORMATS) as picture:
        try:
            return read_pixels(picture)
        except Exception as error:  # of a dozen types, by what Pillow's parsers stumble on
            raise OSError(f"damaged: {error}") from error


def to_tensor(images: Images) -> Tensor:
    """(count, height, width, channels) bytes as (count, channels, height, width) bytes in channels-last memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def _download(name: str, cache: Path) -> tuple[tuple[str, ...], Split, Split, str]:
    kind = NAMED[name]
    splits = []
    for train in (True, False):
        data = kind(root=str(cache), train=train, download=True)
        images = np.asarray(data.data)
        images = images[..., np.newaxis] if images.ndim == 3 else images
        splits.append(Split(images, np.asarray(data.targets, dtype=np.int64)))
    labels = tuple(name.split(" - ")[-1] for name in data.classes)
    return labels, splits[0], splits[1], f"torchvision.datasets.{kind.__name__}"


def _read_folder(
    folder: Path, size: int, max_unreadable: int, min_classes: int, seed: int
) -> tuple[tuple[str, ...], Split, Split, ImagePreprocessing]:
    if not folder.is_dir():
        raise DataError(f"data: '{folder}' is none of {', '.join(NAMED)} and no folder of images by class")
    has_splits = (folder / "train").is_dir()
    root = folder / "train" if has_splits else folder
    labels = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(labels) < min_classes:
        raise DataError(
            f"data: '{root}' holds {len(labels)} folders, expected at least {min_classes}, one for each class"
        )
    unreadable = _Unreadable(max_unreadable)
    train_pictures, train_labels = _read_classes(root, labels, unreadable)
    preprocessing = _preprocessing(train_pictures, size)
    train = Split(_fit(train_pictures, preprocessing), train_labels)
    if has_splits and (folder / "test").is_dir():
        test_pictures, test_labels = _read_classes(folder / "test", labels, unreadable)
        return labels, train, Split(_fit(test_pictures, preprocessing), test_labels), preprocessing
    train, test = _hold_out(train, TEST_FRACTION, seed, "the test split")
    return labels, train, test, preprocessing


class _Unreadable:
    """Counts the files that could not be read and gives up after ``limit``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    def skip(self, path: Path, error: Exception) -> None:
        self.count += 1
        log.warning("skipped %s: no readable image (%s)", path, error)
        if self.count > self.limit:
            raise DataError(f"data: {self.count} unreadable files, expected at most {self.limit}; the last is '{path}'")


def _read_classes(root: Path, labels: Sequence[str], unreadable: _Unreadable) -> tuple[list[Images], Labels]:
    pictures: list[Images] = []
    indices: list[int] = []
    for index, label in enumerate(labels):
        of_class = list(_decode_all(root / label, unreadable))
        if not of_class:
            raise DataError(f"data: '{root / label}' holds no readable image, expected at least one of each class")
        pictures.extend(of_class)
        indices.extend([index] * len(of_class))
    return pictures, np.array(indices, dtype=np.int64)


def _decode_all(folder: Path, unreadable: _Unreadable) -> Iterator[Images]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if path.is_file() and not path.name.startswith("."):
            try:
                yield decode_image(path)
            except OSError as error:
                unreadable.skip(path, error)


def _preprocessing(pictures: Sequence[Images] | Images, size: int) -> ImagePreprocessing:
    shapes = {picture.shape for picture in pictures}
    height, width, channels = next(iter(shapes))
    native = len(shapes) == 1 and height == width <= LARGEST_NATIVE_SIZE
    side = size or (height if native else DEFAULT_SIZE)
    return ImagePreprocessing(height=side, width=side, channels=1 if channels == 1 else 3)


def _fit(pictures: Sequence[Images] | Images, preprocessing: ImagePreprocessing) -> Images:
    shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if isinstance(pictures, np.ndarray) and pictures.shape[1:] == shape:
        return pictures
    rgb = (np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture for picture in pictures)
    return np.stack([fit_image(picture, preprocessing) for picture in rgb])


def _sample(split: Split, count: int, seed: int) -> Split:
    return split if len(split) <= count else _hold_out(split, count / len(split), seed, f"max_images: {count}")[1]


def _hold_out(split: Split, fraction: float, seed: int, what: str) -> tuple[Split, Split]:
    kept, held_out = hold_out(split.labels, fraction, seed, what, "images")
    return split.take(kept), split.take(held_out)
