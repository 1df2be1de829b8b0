"""Which words are alike, and which are mapped."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.sentiment.words import NEIGHBOURS, find_neighbours, find_words, map_words

VOCABULARY = (
    "[PAD]",
    "[UNK]",
    "[START]",
    "[END]",
    ".",
    "b",
    "##b",
    "10",
    "it's",
    "good",
    "fine",
    "bad",
    "7",
    "好",
    "never",
)
COUNTS = np.array([0, 9, 9, 9, 90, 80, 70, 10, 20, 30, 31, 29, 10, 5, 0])


def test_words_are_what_is_no_mark_no_piece_no_letter_and_was_seen() -> None:
    assert [VOCABULARY[row] for row in find_words(VOCABULARY, COUNTS)] == [
        "fine",
        "good",
        "bad",
        "it's",
        "10",
        "7",
        "好",
    ]


def test_neighbours_are_the_words_in_the_like_direction() -> None:
    embeddings = np.zeros((len(VOCABULARY), 3), np.float32)
    for word, vector in (("good", (1, 0.1, 0)), ("fine", (20, 0, 0)), ("bad", (-1, 0, 0)), ("7", (0, 0, 2))):
        embeddings[VOCABULARY.index(word)] = vector
    embeddings[VOCABULARY.index("never")] = embeddings[VOCABULARY.index("##b")] = (1, 0.1, 0)
    (good,) = find_neighbours(embeddings, VOCABULARY, COUNTS, ("good",))
    assert (good.word, good.count) == ("good", 30)
    assert good.nearest[0][0] == "fine"
    np.testing.assert_allclose(good.nearest[0][1], 1 / np.sqrt(1.01), rtol=1e-6)
    assert good.nearest[-1][0] == "bad"
    assert len(good.nearest) == 6


def test_a_frequent_word_stands_in_for_one_that_is_missing() -> None:
    embeddings = np.random.default_rng(0).normal(size=(len(VOCABULARY), 4))
    found = find_neighbours(embeddings, VOCABULARY, COUNTS, ("excellent", "bad", "never"))
    assert [item.word for item in found] == ["bad", "fine", "good"]
    assert find_neighbours(embeddings, VOCABULARY, COUNTS * 0) == []


def cluster(count: int) -> tuple[NDArray[np.float32], list[str], NDArray[np.int64]]:
    """Words of two kinds whose embeddings differ in length only, and a little noise."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(2, 16))
    vectors = centres[np.arange(count) % 2] * generator.uniform(1, 9, (count, 1))
    vectors += generator.normal(0, 0.1, vectors.shape)
    return vectors.astype(np.float32), [f"word{row}" for row in range(count)], np.arange(count, 0, -1)


def test_the_map_puts_alike_words_together_and_is_the_same_each_time() -> None:
    embeddings, vocabulary, counts = cluster(120)
    words = map_words(embeddings, vocabulary, counts, np.arange(120, dtype=np.float32))
    distances = np.linalg.norm(words.positions[:, None] - words.positions, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) % 2 == np.arange(120) % 2).all()
    assert words.leans is not None
    assert list(words.leans) == list(range(120))
    again = map_words(embeddings, vocabulary, counts)
    np.testing.assert_array_equal(again.positions, words.positions)
    assert again.leans is None


def test_only_the_most_frequent_words_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.sentiment.words.MAPPED", 20)
    embeddings, vocabulary, counts = cluster(50)
    words = map_words(embeddings, vocabulary, counts[::-1])
    assert list(words.words) == [f"word{row}" for row in range(49, 29, -1)]
    assert list(words.counts) == list(range(50, 30, -1))


def test_few_words_have_neighbours_and_a_map() -> None:
    for count in range(5):
        embeddings, vocabulary, counts = cluster(count)
        assert map_words(embeddings, vocabulary, counts).positions.shape == (count, 2)
        found = find_neighbours(embeddings, vocabulary, counts)
        assert [len(item.nearest) for item in found] == [min(NEIGHBOURS, count - 1)] * count
