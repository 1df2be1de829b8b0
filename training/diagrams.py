"""The diagrams that the cards of several classifiers show. Each function draws one and writes it as a PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.drawing import BLUE, GREY, ORANGE, can_be_drawn, open_figure, shorten
from training.metrics import Reliability

NAME_LENGTH = 14
# Past this many classes, numbers and names no longer fit into the cells of a confusion matrix.
MAX_NAMED_CLASSES = 25
# Up to this many, a cell has room for the share beside the number, and names need not be turned to stand side by side.
MAX_WIDE_CLASSES = 4


class Words(NamedTuple):
    """What a reliability diagram calls its parts."""

    title: str
    share: str  # that was right, on the axis
    bars: str  # the same in the legend
    marks: str  # the mean confidence, in the legend
    confidence: str  # on the axis


RELIABILITY = Words("Reliability", "accuracy", "accuracy", "mean confidence", "confidence")


def draw_confusion_matrix(path: Path, matrix: NDArray[np.integer[Any]], labels: Sequence[str], examples: str) -> None:
    """How often each true class (row) was taken for each class (column), coloured by the share of the row.

    Args:
        path: where to write.
        matrix: (classes, classes), how often.
        labels: (classes,) what the classes are called.
        examples: what was classified, in the plural.
    """
    classes = len(labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named, wide = classes <= MAX_NAMED_CLASSES, classes <= MAX_WIDE_CLASSES
    side = min(max(2.6 + 0.42 * classes, 4.0), 8.0) if named else 6.0
    with open_figure(path, side, side) as figure:
        axes = figure.subplots()
        # The root brings out the few mistakes beside the many right answers.
        axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        axes.set(xlabel="predicted", ylabel="true", title=f"Test {examples} by true and predicted class")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if named:
            names = [name_class(label, place) for place, label in enumerate(labels)]
            turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if classes > 3 else {}
            axes.set_xticks(range(classes), names, parse_math=False, **turned)
            axes.set_yticks(range(classes), names, parse_math=False)
            axes.tick_params(length=0)
            size = 10 if wide else 8 if classes <= 12 else 6
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    text = f"{count:,}\n{shares[row, column]:.1%}" if wide else f"{count}"
                    colour = "white" if shares[row, column] > 0.4 else "#333333"
                    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def draw_reliability(path: Path, reliability: Reliability, words: Words = RELIABILITY) -> None:
    """Accuracy against confidence, above how many predictions have that confidence."""
    bins = len(reliability.counts)
    places, width = (np.arange(bins) + 0.5) / bins, 1 / bins
    filled = reliability.counts > 0
    with open_figure(path, 4.4, 4.8) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
        above.bar(places[filled], reliability.accuracy[filled], width * 0.92, color=BLUE, label=words.bars)
        marks: dict[str, Any] = {"linestyle": "", "marker": "_", "markersize": 11, "markeredgewidth": 2}
        above.plot(places[filled], reliability.confidence[filled], color=ORANGE, label=words.marks, **marks)
        error = reliability.expected_calibration_error
        above.set(title=f"{words.title} (expected calibration error {error:.1%})", ylabel=words.share)
        above.set(xlim=(0, 1), ylim=(0, 1))
        above.legend(loc="upper left")
        below.bar(places, reliability.counts / reliability.counts.sum(), width * 0.92, color=GREY)
        below.set(xlabel=words.confidence, ylabel="share")
        for axes in (above, below):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        below.xaxis.set_major_formatter(PercentFormatter(1.0))


def name_class(label: str, place: int) -> str:
    """A class by its name, or by its number where the font lacks characters of the name."""
    return shorten(label, NAME_LENGTH) if can_be_drawn(label) else f"class {place + 1}"
