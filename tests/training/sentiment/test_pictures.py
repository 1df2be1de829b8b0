"""Pictures of a card: what can be told of them without looking."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from tests.training.sentiment.facts import LABELS
from training.sentiment.lengths import measure_by_length
from training.sentiment.pictures import draw_learning_curves, draw_lengths, draw_words
from training.sentiment.words import WordMap


def crowd(words: list[str], leans: NDArray[np.float32] | None) -> WordMap:
    """Words so close together that not all can be written."""
    positions = np.random.default_rng(0).normal(size=(len(words), 2)).astype(np.float32)
    return WordMap(words, positions, np.arange(len(words), 0, -1), leans)


def written(figure: Figure) -> list[Text]:
    return list(figure.axes[0].texts)


@pytest.mark.parametrize("leaning", [True, False])
def test_no_word_of_the_map_lies_on_another(figures: list[Figure], tmp_path: Path, leaning: bool) -> None:
    leans = np.linspace(-3, 3, 400, dtype=np.float32) if leaning else None
    draw_words(tmp_path / "words.png", crowd([f"word{number}" for number in range(400)], leans), LABELS)
    texts = written(figures[0])
    assert 60 < len(texts) < 400
    boxes = [text.get_window_extent() for text in texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert {"word0", "word399"} & {text.get_text() for text in texts} == (
        {"word0", "word399"} if leaning else {"word0"}
    )
    edges = figures[0].bbox
    assert all(edges.x0 <= box.x0 and box.x1 <= edges.x1 for box in boxes)


def test_words_that_the_font_cannot_write_are_dots(figures: list[Figure], tmp_path: Path) -> None:
    draw_words(tmp_path / "words.png", crowd(["good", "很好", "👍", "плохо", "$x$"], None), LABELS)
    assert {text.get_text() for text in written(figures[0])} == {"good", "плохо", "$x$"}


def test_no_words_give_an_empty_map(figures: list[Figure], tmp_path: Path) -> None:
    draw_words(tmp_path / "words.png", crowd([], None), LABELS)
    assert written(figures[0]) == []


def test_the_scale_of_the_map_names_the_classes(figures: list[Figure], tmp_path: Path) -> None:
    leans = np.zeros(3, np.float32)
    draw_words(tmp_path / "words.png", crowd(["a", "b", "c"], leans), LABELS)
    draw_words(tmp_path / "words.png", crowd(["a", "b", "c"], leans), ("one", "two", "three"))
    ends = [[tick.get_text() for tick in figure.axes[1].get_xticklabels()][:: len(LABELS) * 2] for figure in figures]
    assert ends == [["4 times in negative", "4 times in positive"], ["4 times in others", "4 times in three"]]


def test_the_limit_is_marked_where_texts_are_longer(figures: list[Figure], tmp_path: Path) -> None:
    tokens = np.arange(1, 101)
    for limit in (50, 100):
        draw_lengths(tmp_path / "lengths.png", measure_by_length(tokens, tokens % 3 > 0, limit), limit)
    marked = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in figures]
    assert ["longer is not read whole" in names for names in marked] == [True, False]


def test_a_single_text_has_a_picture(tmp_path: Path) -> None:
    draw_lengths(tmp_path / "lengths.png", measure_by_length(np.array([0]), np.array([True]), 10), 10)
    assert (tmp_path / "lengths.png").stat().st_size > 0


def test_each_phase_of_training_has_its_curves(figures: list[Figure], tmp_path: Path) -> None:
    epoch = {"epoch": 1.0, "train_loss": 0.7, "train_accuracy": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.6}
    reading = {"epoch": 1.0, "forward_loss": 6.0, "backward_loss": 6.1, "validation_loss": 5.9}
    for pretraining in ([], [reading], [{key: reading[key] for key in reading if key != "backward_loss"}]):
        draw_learning_curves(tmp_path / "curves.png", [epoch], pretraining)
    lines = [[len(axes.lines) for axes in figure.axes] for figure in figures]
    assert lines == [[2, 2], [3, 2, 2], [2, 2, 2]]
