"""IMDB's test reviews, from the archive that is published or the folder that it unpacks to."""

import random
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

LABELS: Final[Mapping[str, str]] = {"neg": "negative", "pos": "positive"}  # by the name of the folder
SPLIT: Final = "test"


class Review(NamedTuple):
    """A review: the folder and file that it stands in, what it thinks of its film, and what it says."""

    name: str
    label: str
    text: str


def sample_reviews(data: Path, count: int, seed: int) -> list[Review]:
    """``count`` test reviews drawn at random, or all of them if there are fewer.

    Args:
        data: ``aclImdb_v1.tar.gz`` or another tar archive of the same layout, or the folder ``aclImdb``. The same
            reviews are drawn from either.
        count: how many.
        seed: which.

    Raises:
        ValueError: there is none.
    """
    reviews = sorted(_read_folder(data) if data.is_dir() else _read_archive(data))
    if not reviews:
        folders = " and ".join(f"{SPLIT}/{folder}" for folder in LABELS)
        raise ValueError(f"{data}: holds no test reviews, expected text files in {folders}")
    return random.Random(seed).sample(reviews, min(count, len(reviews)))


def _read_folder(data: Path) -> Iterator[Review]:
    for folder, label in LABELS.items():
        for path in (data / SPLIT / folder).glob("*.txt"):
            yield Review(f"{folder}/{path.name}", label, path.read_text("utf-8"))


def _read_archive(data: Path) -> Iterator[Review]:
    with tarfile.open(data) as archive:
        for member in archive:
            _, *parts = Path(member.name).parts  # below the archive's one folder
            if len(parts) == 3 and parts[0] == SPLIT and parts[1] in LABELS and parts[2].endswith(".txt"):
                file = archive.extractfile(member)
                assert file is not None  # it is a plain file
                yield Review(f"{parts[1]}/{parts[2]}", LABELS[parts[1]], file.read().decode("utf-8"))
