from pathlib import Path

import pytest
from tokenizers import Tokenizer
from torch import nn

from tests.training.sentiment.reviews import make_reviews
from training.errors import SettingError
from training.sentiment.tokenizer import train_tokenizer
from training.sentiment.vectors import load_vectors


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text for text, _ in make_reviews(100)], 400)


@pytest.mark.parametrize("header", ["", "2 3\n"])
def test_words_of_the_vocabulary_get_their_vectors(tokenizer: Tokenizer, tmp_path: Path, header: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(f"{header}film 1 2 3\nzebra 4 5 6\n", "utf-8")
    embedding = nn.Embedding(tokenizer.get_vocab_size(), 3)
    before = embedding.weight.detach().clone()
    assert load_vectors(path, tokenizer, embedding) == 1
    row = tokenizer.token_to_id("film")
    assert embedding.weight[row].tolist() == [1, 2, 3]
    changed = (embedding.weight != before).any(1)
    assert changed.nonzero().flatten().tolist() == [row]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("film 1 2\n", "line 1: 2 numbers, expected dimensions, 3"),
        ("film 1 2 x\n", "cannot be read: could not convert"),
        ("zebra 1 2 3\n", "has none of the"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tokenizer: Tokenizer, tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(content, "utf-8")
    with pytest.raises(SettingError, match=problem):
        load_vectors(path, tokenizer, nn.Embedding(tokenizer.get_vocab_size(), 3))


def test_a_file_that_is_not_there_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"nothing.txt' cannot be read"):
        load_vectors(tmp_path / "nothing.txt", tokenizer, nn.Embedding(10, 3))
