"""Small texts to train on: film reviews of which a few words tell the class."""

import csv
import tarfile
from pathlib import Path

import numpy as np

WORDS = {
    "good": ("wonderful", "moving", "brilliant", "superb"),
    "bad": ("dreadful", "tedious", "clumsy", "awful"),
    "mixed": ("uneven", "passable", "middling", "average"),
}
FILLING = ("the", "film", "was", "a", "story", "of", "its", "actors", "and", "plot", "which", "I", "saw", "again", "in")


def write_review(label: str, words: int, generator: np.random.Generator) -> str:
    """A review of about so many words; every fifth tells its class."""
    parts = [str(generator.choice(WORDS[label] if number % 5 == 2 else FILLING)) for number in range(max(words, 3))]
    return " ".join(parts).capitalize() + "."


def make_reviews(per_class: int, classes: int = 2, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 3 to 40 words, each with its label, in random order."""
    generator = np.random.default_rng(seed)
    rows = [
        (write_review(label, int(generator.integers(3, 41)), generator), label)
        for label in list(WORDS)[:classes]
        for _ in range(per_class)
    ]
    generator.shuffle(rows)
    return [(str(text), str(label)) for text, label in rows]


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    """A CSV of texts and labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_imdb(root: Path, per_class: int = 20) -> Path:
    """A folder as the archive of IMDB unpacks to."""
    generator = np.random.default_rng(1)
    for split in ("train", "test"):
        for place, label in (("pos", "good"), ("neg", "bad")):
            folder = root / "aclImdb" / split / place
            folder.mkdir(parents=True)
            for number in range(per_class):
                text = write_review(label, 12, generator) + "<br /><br />Seen twice."
                (folder / f"{number}_7.txt").write_text(text, "utf-8")
    unlabelled = root / "aclImdb" / "train" / "unsup"
    unlabelled.mkdir()
    for number in range(per_class):
        (unlabelled / f"{number}_0.txt").write_text(write_review("good", 12, generator), "utf-8")
    return root / "aclImdb"


def pack_imdb(root: Path) -> Path:
    """Such a folder as an archive."""
    folder = write_imdb(root)
    archive = root / "aclImdb_v1.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, "aclImdb")
    return archive
