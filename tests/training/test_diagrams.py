"""Diagrams of classifiers: what can be told of them without looking."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.diagrams import draw_confusion_matrix


def test_classes_that_the_font_cannot_write_have_numbers(figures: list[Figure], tmp_path: Path) -> None:
    draw_confusion_matrix(tmp_path / "matrix.png", np.array([[3, 1], [0, 2]]), ("正面", "negative"), "texts")
    assert [tick.get_text() for tick in figures[0].axes[0].get_xticklabels()] == ["class 1", "negative"]
