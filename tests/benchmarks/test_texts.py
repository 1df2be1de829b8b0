import random
import re

import pytest

from benchmarks.texts import BAD, GOOD, PLAIN, WORDS, make_text


@pytest.mark.parametrize("words", [1, 10, 230, 1000])
def test_a_text_has_as_many_words_as_wanted(words: int) -> None:
    text = make_text(words, random.Random(1))
    assert len(text.split()) == words
    assert not re.search(r"[{}]", text)


def test_a_seed_s_texts_are_always_the_same_and_differ_from_each_other() -> None:
    first, second = ([make_text(230, draw) for _ in range(20)] for draw in (random.Random(7), random.Random(7)))
    assert first == second
    assert len(set(first)) == 20


def test_a_long_text_goes_on_with_other_words_than_it_began_with() -> None:
    words = make_text(1000, random.Random(2)).lower().split()
    assert len(set(words)) > 300


def test_texts_praise_and_blame() -> None:
    texts = [make_text(230, random.Random(seed)) for seed in range(40)]
    praises = [sum(sentence in text for sentence in GOOD) > sum(sentence in text for sentence in BAD) for text in texts]
    assert 10 < sum(praises) < 30


def test_every_word_to_draw_is_drawn_somewhere() -> None:
    slots = {slot for sentence in (*GOOD, *BAD, *PLAIN) for slot in re.findall(r"\{(\w+)\}", sentence)}
    assert slots == set(WORDS)
