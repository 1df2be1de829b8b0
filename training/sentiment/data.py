"""Texts with a class: the film reviews of IMDB, or any file with a column of texts and one of labels."""

import hashlib
import json
import logging
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.records import read_records
from training.splits import hold_out

if TYPE_CHECKING:
    from training.sentiment.train import Config

log = logging.getLogger(__name__)

IMDB_FOLDER = "aclImdb"
IMDB_FILE = "aclImdb_v1.tar.gz"
IMDB_ADDRESS = f"https://ai.stanford.edu/~amaas/data/sentiment/{IMDB_FILE}"
IMDB_MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
IMDB_LABELS = {"negative": "neg", "positive": "pos"}
ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".tar")
LINES = (".jsonl", ".ndjson")
TEXT_COLUMNS = ("text", "review", "sentence", "comment", "content", "body")
LABEL_COLUMNS = ("label", "sentiment", "class", "category", "target")
TEST_FRACTION = 0.2
MAX_LABELS = 100
_TIMEOUT_SECONDS = 60
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Split:
    """Texts with the index of their class."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> "Split":
        """Some of them."""
        return Split(tuple(self.texts[row] for row in rows), self.labels[rows])


@dataclass(frozen=True)
class TextData:
    """What a classifier is trained, chosen and tested on. ``sha256`` digests the training texts and labels."""

    name: str
    source: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    unlabelled: tuple[str, ...]
    sha256: str


def load_data(config: "Config", cache: Path) -> TextData:
    """The texts that ``config`` names.

    Raises:
        DataError: what :func:`load_texts` says.
    """
    return load_texts(
        config.data,
        cache,
        text_column=config.text_column,
        label_column=config.label_column,
        max_texts=config.max_texts,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
    )


def load_texts(
    data: str,
    cache: Path,
    *,
    text_column: str = "",
    label_column: str = "",
    max_texts: int = 0,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> TextData:
    """Load the reviews of IMDB or a file of one's own.

    Args:
        data: ``imdb``, which is read from the cache or downloaded and checked; its archive or unpacked folder; or a
            CSV, TSV, Parquet or JSON-lines file, whose test split is a fifth of it.
        cache: where downloads are kept.
        text_column: of a file; if not given, the one with a usual name.
        label_column: likewise.
        max_texts: how many training, test and unlabelled texts are used, of each class equally many; 0: all.
        validation_fraction: the share of the training texts held out to watch and stop the training.
        seed: decides which texts are held out.

    Raises:
        DataError: no such file or column, an empty text, a text that is no UTF-8, or fewer than two classes.
    """
    unlabelled: tuple[str, ...] = ()
    path = Path(data)
    if data == "imdb" or path.is_dir() or path.name.endswith(ARCHIVES):
        labels = tuple(IMDB_LABELS)
        train, test, unlabelled = _read_imdb(_find_imdb(data, cache))
        name, source = "imdb", IMDB_ADDRESS
    else:
        labels, everything = _read_file(path, text_column, label_column)
        train, test = _hold_out(everything, TEST_FRACTION, seed, "the test split")
        name, source = path.stem, path.name
    if max_texts:
        train, test = (_sample(split, max_texts, seed) for split in (train, test))
        unlabelled = unlabelled[:max_texts]
    digest = hashlib.sha256("\0".join(train.texts).encode() + train.labels.tobytes()).hexdigest()
    train, validation = _hold_out(train, validation_fraction, seed, f"validation_fraction: {validation_fraction}")
    return TextData(name, source, labels, train, validation, test, unlabelled, digest)


def _find_imdb(data: str, cache: Path) -> Path:
    """The folder of the unpacked archive."""
    if data != "imdb" and Path(data).is_dir():
        folder = Path(data)
        if not (folder / "train").is_dir() and (folder / IMDB_FOLDER).is_dir():
            folder = folder / IMDB_FOLDER
    else:
        folder = cache / IMDB_FOLDER
        if not (folder / "test").is_dir():
            _unpack(_download(cache) if data == "imdb" else Path(data), cache)
    for name in ("train/pos", "train/neg", "test/pos", "test/neg"):
        if not (folder / name).is_dir():
            raise DataError(f"data: '{folder}' has no folder '{name}', expected the one that {IMDB_FILE} unpacks to")
    return folder


def _download(cache: Path) -> Path:
    path = cache / IMDB_FILE
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        try:
            with urllib.request.urlopen(IMDB_ADDRESS, timeout=_TIMEOUT_SECONDS) as answer, partial.open("wb") as file:
                while chunk := answer.read(_CHUNK_BYTES):
                    file.write(chunk)
        except (urllib.error.URLError, TimeoutError) as error:
            raise DataError(f"data: {IMDB_ADDRESS} cannot be downloaded ({error}); put it at '{path}'") from error
        partial.replace(path)
    with path.open("rb") as file:
        # The sum that the archive is known by; it tells damage, not malice.
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != IMDB_MD5:
        raise DataError(f"data: MD5 of '{path}' is {found}, expected {IMDB_MD5}")
    return path


def _unpack(archive: Path, cache: Path) -> None:
    """Unpack the reviews of ``archive`` into the cache, whole or not at all."""
    if not archive.is_file():
        raise DataError(f"data: '{archive}' is no file, expected {IMDB_FILE}")
    partial = cache / f"{IMDB_FOLDER}.partial"
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(partial, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"data: '{archive}' cannot be unpacked: {error}") from error
    if not (partial / IMDB_FOLDER).is_dir():
        raise DataError(f"data: '{archive}' holds no folder '{IMDB_FOLDER}', expected {IMDB_FILE}")
    (partial / IMDB_FOLDER).replace(cache / IMDB_FOLDER)
    partial.rmdir()


def _read_imdb(folder: Path) -> tuple[Split, Split, tuple[str, ...]]:
    splits = []
    for split in ("train", "test"):
        classes = [tuple(_read_reviews(folder / split / place)) for place in IMDB_LABELS.values()]
        indices = np.repeat(np.arange(len(classes)), [len(texts) for texts in classes])
        splits.append(Split(tuple(text for texts in classes for text in texts), indices))
    unlabelled = folder / "train" / "unsup"
    return splits[0], splits[1], tuple(_read_reviews(unlabelled)) if unlabelled.is_dir() else ()


def _read_reviews(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.txt")):
        try:
            yield path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"data: '{path}' cannot be read as UTF-8: {error}") from error


def _read_file(path: Path, text_column: str, label_column: str) -> tuple[tuple[str, ...], Split]:
    """The classes, in order of their names, and every text with its own."""
    if not path.is_file():
        raise DataError(
            f"data: '{path}' is none of 'imdb', its archive or folder, and no CSV, TSV, Parquet or JSON-lines file"
        )
    columns = _read_lines(path) if path.suffix.lower() in LINES else read_records(path)[0]
    text_name = _choose_column(columns, text_column, "text_column", TEXT_COLUMNS, path)
    label_name = _choose_column(columns, label_column, "label_column", LABEL_COLUMNS, path)
    texts, words = columns[text_name], columns[label_name]
    for row, (text, word) in enumerate(zip(texts, words, strict=True), start=1):
        for name, value in ((text_name, text), (label_name, word)):
            if not value.strip():
                raise DataError(f"data: '{path}', row {row}: '{name}' is empty")
    labels = tuple(sorted(set(words)))
    if not 2 <= len(labels) <= MAX_LABELS:
        shown = ", ".join(f"'{label[:40]}'" for label in labels[:3])
        raise DataError(
            f"data: '{path}': column '{label_name}' has {len(labels)} classes ({shown}…), expected 2 to {MAX_LABELS}"
        )
    places = {label: index for index, label in enumerate(labels)}
    return labels, Split(tuple(texts), np.array([places[word] for word in words], np.int64))


def _choose_column(columns: Mapping[str, object], given: str, setting: str, usual: Sequence[str], path: Path) -> str:
    found = [given] if given else [name for name in columns if name.strip().lower() in usual]
    if len(found) != 1 or found[0] not in columns:
        wanted = f"'{given}'" if given else f"one called {', '.join(usual[:-1])} or {usual[-1]}"
        option = setting.replace("_", "-")
        raise DataError(
            f"data: '{path}' has columns {', '.join(columns)}; expected {wanted}: say which with --{option}"
        )
    return found[0]


def _read_lines(path: Path) -> dict[str, tuple[str, ...]]:
    """The members of the objects in a JSON-lines file, as columns of text."""
    rows: list[Mapping[str, object]] = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"data: '{path}' is no UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"data: '{path}', row {number}: no JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"data: '{path}', row {number}: {line[:40]!r} is no object, expected one")
        rows.append(row)
    if not rows:
        raise DataError(f"data: '{path}' has no rows")
    names = list(rows[0])
    return {name: tuple(_to_text(row.get(name)) for row in rows) for name in names}


def _to_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _sample(split: Split, count: int, seed: int) -> Split:
    return split if len(split) <= count else _hold_out(split, count / len(split), seed, f"max_texts: {count}")[1]


def _hold_out(split: Split, fraction: float, seed: int, what: str) -> tuple[Split, Split]:
    kept, held_out = hold_out(split.labels, fraction, seed, what, "texts")
    return split.take(kept), split.take(held_out)
