"""The pictures of a model card. Each function draws one and writes it as a PNG; the same facts give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from models.columns import Column, write_number
from training.drawing import BLUE, GREY, draw_over_epochs, open_figure, shorten
from training.profile_generator.encoding import exact_numbers
from training.profile_generator.evaluate import Associations
from training.profile_generator.sampling import order_columns
from training.table import Table

Floats = NDArray[np.float64]

MAX_PANELS = 24
PANELS_IN_A_ROW = 4
MAX_WORDS = 6
WORD_LENGTH = 12
NAME_LENGTH = 18
MAX_NAMED = 30
HISTOGRAM_BINS = 30
DISTANCE_BINS = 40


def draw_learning_curves(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """The negative evidence bound after each epoch, and the part of it that the latents cost."""
    with open_figure(path, 7.6, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        draw_over_epochs(left, history, {split: f"{split}_loss" for split in ("train", "validation")}, (GREY, BLUE))
        left.legend(loc="upper right")
        left.set(title="Negative evidence bound (nats)")
        draw_over_epochs(right, history, {"validation": "validation_divergence"}, (BLUE,))
        right.set(title="What the latents carry (nats)", ylim=(0, None))


def draw_marginals(path: Path, real: Table, synthetic: Table) -> None:
    """The distribution of each column, of held-out and of generated rows side by side."""
    facts = real.preprocessing
    tables = (real, synthetic)
    columns = [order_columns(facts, exact_numbers(table), table.texts) for table in tables]
    words = [np.array(facts.target.categories, dtype=object)[table.targets] for table in tables]
    panels: list[tuple[Column, Sequence[NDArray[Any]]]] = [(facts.target, words)]
    panels += [(column, pair) for column, *pair in zip(facts.columns, *columns, strict=True)]
    panels = panels[:MAX_PANELS]
    rows = -(-len(panels) // PANELS_IN_A_ROW)
    with open_figure(path, 2.5 * PANELS_IN_A_ROW, 1.75 * rows + 0.3) as figure:
        grid = figure.subplots(rows, PANELS_IN_A_ROW, squeeze=False).ravel()
        for axes, (column, pair) in zip(grid, panels, strict=False):
            axes.set_title(shorten(column.name, 2 * NAME_LENGTH), fontsize=9)
            if column.is_numeric:
                _draw_numbers(axes, column, pair)
            else:
                _draw_words(axes, pair)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.tick_params(labelsize=7)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)


def draw_associations(path: Path, associations: Associations) -> None:
    """How strongly columns go together, in held-out and in generated rows, and by how much that differs."""
    names = associations.names
    named = len(names) <= MAX_NAMED
    difference = associations.synthetic - associations.real
    side = 3.0 if not named else 1.4 + 0.13 * len(names)
    with open_figure(path, 3 * side + 1.0, side + 0.9) as figure:
        panels = figure.subplots(1, 3)
        titled = (
            ("Held-out rows", associations.real, "Blues", (0, 1)),
            ("Generated rows", associations.synthetic, "Blues", (0, 1)),
            (f"Difference (largest {np.abs(difference).max():.2f})", difference, "RdBu_r", (-0.25, 0.25)),
        )
        for place, (axes, (title, matrix, colours, limits)) in enumerate(zip(panels, titled, strict=True)):
            image = axes.imshow(matrix, cmap=colours, vmin=limits[0], vmax=limits[1])
            axes.set_title(title)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0, labelsize=6)
            axes.set_xticks([])
            axes.set_yticks([])
            if named:
                shown = [shorten(name, NAME_LENGTH) for name in names]
                axes.set_xticks(range(len(names)), shown, rotation=90)
                axes.set_yticks(range(len(names)), shown if place == 0 else [""] * len(names))
            figure.colorbar(image, ax=axes, shrink=0.6, aspect=25).ax.tick_params(labelsize=6)


def draw_distances(path: Path, synthetic: Floats, held_out: Floats) -> None:
    """How far rows are from the nearest training row: generated ones, and held-out ones, which nobody has copied."""
    limit = float(np.quantile(np.concatenate((synthetic, held_out)), 0.995)) or 1.0
    bins = np.linspace(0, limit, DISTANCE_BINS + 1).tolist()
    with open_figure(path, 7.6, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        for values, colour, label in ((held_out, GREY, "held-out rows"), (synthetic, BLUE, "generated rows")):
            weights = np.full(len(values), 1 / len(values))
            left.hist(values, bins=bins, weights=weights, histtype="step", color=colour, linewidth=1.6, label=label)
            ordered = np.sort(values)
            right.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), color=colour, linewidth=1.6)
        left.set(title="Distance to the nearest training row", xlabel="Gower distance", xlim=(0, limit))
        right.set(title="The same, cumulated", xlabel="Gower distance", xlim=(0, limit), ylim=(0, 1))
        left.legend(loc="upper right")
        for axes in (left, right):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _draw_numbers(axes: Axes, column: Column, pair: Sequence[NDArray[Any]]) -> None:
    present = [values[~np.isnan(values)] for values in pair]
    bins = np.histogram_bin_edges(np.concatenate(present), bins=HISTOGRAM_BINS).tolist()
    for values, colour, label in zip(present, (GREY, BLUE), ("held-out rows", "generated rows"), strict=True):
        weights = np.full(len(values), 1 / max(1, len(values)))
        axes.hist(values, bins=bins, weights=weights, histtype="step", color=colour, linewidth=1.4, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if column.type == "date":
        axes.xaxis.set_major_locator(MaxNLocator(2))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda day, _: str(write_number(column, day))))


def _draw_words(axes: Axes, pair: Sequence[NDArray[Any]]) -> None:
    words, counts = np.unique(pair[0].astype(str), return_counts=True)
    shown = words[np.argsort(-counts, kind="stable")][:MAX_WORDS]
    places = np.arange(len(shown))
    for values, shift, colour, label in zip(
        pair, (-0.2, 0.2), (GREY, BLUE), ("held-out rows", "generated rows"), strict=True
    ):
        shares = [float((values == word).mean()) for word in shown]
        axes.bar(places + shift, shares, 0.4, color=colour, label=label)
    length = WORD_LENGTH if len(shown) <= 3 else WORD_LENGTH - 4
    axes.set_xticks(places, [shorten(word, length) or "missing" for word in shown])
    axes.grid(visible=False, axis="x")
