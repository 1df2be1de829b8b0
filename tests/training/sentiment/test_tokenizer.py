from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from models.errors import ArtifactError
from models.text import TextPreprocessing, TextReader, load_tokenizer
from tests.training.sentiment.reviews import make_reviews
from training.sentiment.tokenizer import SPECIAL_TOKENS, UNKNOWN_ID, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text for text, _ in make_reviews(200)], 400)


def read(tokenizer: Tokenizer, text: str, max_tokens: int = 400, head_tokens: int = 100) -> list[str]:
    preprocessing = TextPreprocessing(max_tokens=max_tokens, head_tokens=head_tokens, unknown_id=UNKNOWN_ID)
    return [str(tokenizer.id_to_token(token)) for token in TextReader(tokenizer, preprocessing).read(text).ids]


def test_special_tokens_have_the_ids_that_the_graph_counts_on(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]


def test_words_are_read_in_lower_case_without_line_breaks_of_html(tokenizer: Tokenizer) -> None:
    assert read(tokenizer, "The<br /><BR>film Was<br/>") == ["[START]", "the", "film", "was", "[END]"]


@pytest.mark.parametrize("text", ["", " \n", "<br />"])
def test_an_empty_text_is_its_two_ends(tokenizer: Tokenizer, text: str) -> None:
    assert read(tokenizer, text) == ["[START]", "[END]"]


@pytest.mark.parametrize("text", ["!!! ???", "👍👍", "\ud83d", "日本語", "\x00", "a" * 20_000, "ﷺ" * 5000, "́" * 50])
def test_any_text_has_an_answer_and_its_offsets_stand_in_it(tokenizer: Tokenizer, text: str) -> None:
    preprocessing = TextPreprocessing(max_tokens=100, head_tokens=40, unknown_id=UNKNOWN_ID)
    reading = TextReader(tokenizer, preprocessing).read(text)
    assert 2 <= len(reading.ids) <= 100
    assert len(reading.offsets) == len(reading.ids)
    assert all(0 <= start <= end <= len(text) for start, end in reading.offsets)


def test_of_a_long_text_both_ends_are_read(tokenizer: Tokenizer) -> None:
    text = "film " * 50 + "story " * 50
    assert read(tokenizer, text, max_tokens=8, head_tokens=3) == [
        *("[START]", "film", "film"),
        *("story", "story", "story", "story", "[END]"),
    ]
    preprocessing = TextPreprocessing(max_tokens=8, head_tokens=3, unknown_id=UNKNOWN_ID)
    reading = TextReader(tokenizer, preprocessing).read(text)
    assert (reading.tokens, reading.truncated) == (100, True)
    assert text[slice(*reading.offsets[-2])] == "story"


def test_texts_together_are_read_as_each_alone(tokenizer: Tokenizer) -> None:
    preprocessing = TextPreprocessing(max_tokens=20, head_tokens=5, unknown_id=UNKNOWN_ID)
    reader = TextReader(tokenizer, preprocessing)
    texts = [text for text, _ in make_reviews(10)]
    for one, other in zip(reader.read_all(texts), map(reader.read, texts), strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert one[1:] == other[1:]


def test_a_tokenizer_is_read_from_its_file_and_a_broken_one_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str(), "utf-8")
    assert load_tokenizer(tmp_path).to_str() == tokenizer.to_str()
    path.write_text("{}", "utf-8")
    with pytest.raises(ArtifactError, match=r"tokenizer.json: cannot be read"):
        load_tokenizer(tmp_path)


def test_the_same_texts_give_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    texts = [text for text, _ in make_reviews(200)]
    assert {train_tokenizer(texts, 400).to_str() for _ in range(4)} == {tokenizer.to_str()}


def test_pieces_are_looked_for_in_words_alone(tokenizer: Tokenizer) -> None:
    assert read(tokenizer, "##a")[1:-1] == [*read(tokenizer, "##")[1:-1], *read(tokenizer, "a")[1:-1]]
