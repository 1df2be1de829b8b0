import tarfile
from pathlib import Path

import pytest

from benchmarks.reviews import Review, sample_reviews


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few reviews in the layout of IMDB's."""
    root = tmp_path / "aclImdb"
    for split in ("train", "test"):
        for label in ("neg", "pos", "unsup"):
            (root / split / label).mkdir(parents=True)
            for number in range(4):
                path = root / split / label / f"{number}_7.txt"
                path.write_text(f"{split} {label} {number}: café<br />", encoding="utf-8")
    (root / "test" / "urls_pos.txt").write_text("not a review")
    return root


def test_the_test_reviews_alone_are_read_with_their_labels(folder: Path) -> None:
    reviews = sample_reviews(folder, 100, seed=0)
    assert len(reviews) == 8
    assert Review("neg/2_7.txt", "negative", "test neg 2: café<br />") in reviews
    assert Review("pos/0_7.txt", "positive", "test pos 0: café<br />") in reviews


def test_the_archive_gives_the_reviews_that_its_folder_gives(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, "aclImdb")
    assert sample_reviews(archive, 5, seed=3) == sample_reviews(folder, 5, seed=3)


def test_a_seed_draws_the_same_reviews_again_and_another_seed_others(folder: Path) -> None:
    assert sample_reviews(folder, 3, seed=1) == sample_reviews(folder, 3, seed=1)
    assert sample_reviews(folder, 3, seed=1) != sample_reviews(folder, 3, seed=2)


def test_a_folder_without_reviews_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no test reviews, expected text files in test/neg and test/pos"):
        sample_reviews(tmp_path, 1, seed=0)
