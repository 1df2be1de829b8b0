"""The pictures of a model card. Each function draws one and writes it as a PNG; the same facts give the same bytes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from training.diagrams import name_class
from training.drawing import BLUE, GREEN, GREY, RED, can_be_drawn, draw_over_epochs, open_figure, shorten
from training.sentiment.lengths import LengthBin
from training.sentiment.words import WordMap

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

WORD_LENGTH = 20
WORD_SIZE = 7
WORD_GAP_PIXELS = 1.5
# A word that leans further has the same colour.
MAX_LEAN = math.log(4)


class Scale(NamedTuple):
    """What colours mean: a name for some values, and what all are."""

    colours: ScalarMappable
    ticks: Sequence[float]
    names: Sequence[str]
    meaning: str


def draw_learning_curves(
    path: Path, history: Sequence[Mapping[str, float]], pretraining: Sequence[Mapping[str, float]]
) -> None:
    """Loss and accuracy after each epoch, beside the losses of the language models where there was pre-training."""
    with open_figure(path, 9.0 if pretraining else 7.6, 2.9) as figure:
        *before, losses, accuracies = figure.subplots(1, 3 if pretraining else 2)
        for axes in before:
            named = {
                "forward_loss": "train, forwards",
                "backward_loss": "train, backwards",
                "validation_loss": "validation",
            }
            lines = {label: name for name, label in named.items() if name in pretraining[0]}
            draw_over_epochs(axes, pretraining, lines, (GREY, GREEN, BLUE) if len(lines) == 3 else (GREY, BLUE))
            axes.set(title="Pre-training: nats a token")
        for axes, quantity in ((losses, "loss"), (accuracies, "accuracy")):
            lines = {split: f"{split}_{quantity}" for split in ("train", "validation")}
            draw_over_epochs(axes, history, lines, (GREY, BLUE))
            axes.set(title=f"Classifier: {quantity}" if pretraining else quantity.capitalize())
        for axes in (*before, losses, accuracies):
            axes.legend(loc="best", fontsize=7, handlelength=1.2)
        accuracies.yaxis.set_major_formatter(PercentFormatter(1.0))


def draw_lengths(path: Path, bins: Sequence[LengthBin], limit: int) -> None:
    """Accuracy by the length of the text, with its 95 % interval, above how many texts are so long.

    Args:
        path: where to write.
        bins: from the shortest texts to the longest.
        limit: the longest text that is read whole; it is marked where a bin ends there.
    """
    places = np.arange(len(bins)) + 0.5
    accuracy = np.array([part.accuracy for part in bins])
    low, high = (np.array(ends) for ends in zip(*(part.interval for part in bins), strict=True))
    total = sum(part.right for part in bins) / sum(part.texts for part in bins)
    with open_figure(path, min(8.2, 3.4 + 0.42 * len(bins)), 4.2) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        above.axhline(total, color=GREY, linewidth=1, linestyle="--", label=f"all texts, {total:.1%}")
        # Rounding can put an end of the interval on the wrong side of a share of 0 or 1.
        reach = np.maximum((accuracy - low, high - accuracy), 0.0)
        above.errorbar(places, accuracy, reach, color=BLUE, marker="o", linestyle="", capsize=3, label="95 % interval")
        above.set(title="Accuracy by length", ylabel="accuracy")
        above.yaxis.set_major_formatter(PercentFormatter(1.0))
        counts = [part.texts for part in bins]
        below.bar(places, counts, 0.92, color=GREY)
        for place, number in zip(places, counts, strict=True):
            below.text(place, number, f"{number:,}", ha="center", va="bottom", fontsize=7)
        below.set(xlabel="tokens", ylabel="texts")
        below.set_ylim(0, 1.2 * max(counts))
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        below.set_xticks(places, [f"{part.shortest:,}\nto {part.longest:,}" for part in bins], fontsize=7)
        ends = [part.longest for part in bins[:-1]]
        for axes in (above, below):
            axes.grid(visible=False, axis="x")
            if limit in ends:
                axes.axvline(ends.index(limit) + 1, color=RED, linewidth=1, label="longer is not read whole")
        handles, names = above.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper right", ncols=3, fontsize=8)


def draw_words(path: Path, words: WordMap, labels: Sequence[str]) -> None:
    """The map of words, coloured by the class that each leans to, or else by how frequent it is.

    Words that would lie on others are dots; those that lean most, or else the most frequent, go first.
    """
    values: Floats = words.counts.astype(np.float64) if words.leans is None else words.leans
    scale = _scale_frequencies(words.counts) if words.leans is None else _scale_leans(labels)
    with open_figure(path, 8.6, 8.0) as figure:
        axes = figure.subplots()
        axes.set(
            title=f"The {len(words.words):,} most frequent words, alike ones near each other", xticks=[], yticks=[]
        )
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.margins(0.05)
        # The dots of all words decide how far the axes reach; the dots of those that are written go again.
        colours = scale.colours.to_rgba(values)
        dots = axes.scatter(words.positions[:, 0], words.positions[:, 1], s=7, c=colours, alpha=0.45, linewidths=0)
        _draw_scale(figure, axes, scale)
        figure.draw_without_rendering()
        written = _write_words(axes, words, np.argsort(-np.abs(values), kind="stable"), colours)
        dots.set_sizes(np.where(written, 0.0, 7.0))


def _scale_leans(labels: Sequence[str]) -> Scale:
    names = (name_class(labels[0], 0) if len(labels) == 2 else "others", name_class(labels[-1], len(labels) - 1))
    colours = LinearSegmentedColormap.from_list("lean", (RED, GREY, BLUE))
    return Scale(
        colours=ScalarMappable(Normalize(-MAX_LEAN, MAX_LEAN, clip=True), colours),
        ticks=(-MAX_LEAN, -MAX_LEAN / 2, 0, MAX_LEAN / 2, MAX_LEAN),
        names=(f"4 times in {names[0]}", "twice", "as often", "twice", f"4 times in {names[1]}"),
        meaning="how many times as often in the training texts of a class",
    )


def _scale_frequencies(counts: Integers) -> Scale:
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (1, 1)
    high = max(high, low + 1)
    ticks = sorted({low, round(math.sqrt(low * high)), high})
    return Scale(
        colours=ScalarMappable(
            LogNorm(low, high), LinearSegmentedColormap.from_list("frequency", ("#76aed3", "#00263f"))
        ),
        ticks=ticks,
        names=[f"{tick:,}" for tick in ticks],
        meaning="times in the training texts",
    )


def _draw_scale(figure: Figure, axes: Axes, scale: Scale) -> None:
    bar = figure.colorbar(scale.colours, ax=axes, orientation="horizontal", shrink=0.6, aspect=45, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_ticks(scale.ticks, labels=scale.names, parse_math=False)
    bar.minorticks_off()
    bar.ax.tick_params(length=0, labelsize=8)
    bar.set_label(scale.meaning, fontsize=8)


def _write_words(axes: Axes, words: WordMap, order: Integers, colours: Floats) -> NDArray[np.bool_]:
    """Write the words in their places, each if nothing is written there yet; which ones are."""
    written = np.zeros(len(words.words), dtype=bool)
    taken: list[Bbox] = []
    for place in order:
        across, up = words.positions[place]
        if not can_be_drawn(words.words[place]):
            continue
        text = axes.text(
            across,
            up,
            shorten(words.words[place], WORD_LENGTH),
            ha="center",
            va="center",
            fontsize=WORD_SIZE,
            color=tuple(colours[place]),
            parse_math=False,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
        text.set_in_layout(False)
        box = text.get_window_extent().padded(WORD_GAP_PIXELS)
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)
            written[place] = True
    return written
