"""The style of the pictures in a model card; the same facts give the same bytes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from PIL import Image

# Okabe and Ito 2008: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#767676"
STYLE: dict[str, Any] = {
    "figure.dpi": 120,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
}


@contextmanager
def open_figure(
    path: Path, width_inches: float, height_inches: float, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """A figure in the card's style that is written to ``path`` as a PNG at the end of the block."""
    with style.context(STYLE):
        figure = Figure(figsize=(width_inches, height_inches), layout=layout)
        canvas = FigureCanvasAgg(figure)
        yield figure
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        Image.fromarray(pixels).convert("RGB").save(path, format="PNG", optimize=True)


def draw_over_epochs(
    axes: Axes, history: Sequence[Mapping[str, float]], lines: Mapping[str, str], colours: Sequence[str]
) -> None:
    """What was recorded after each epoch, as lines.

    Args:
        axes: where to draw.
        history: a record for each epoch, with its number under ``epoch``.
        lines: for what the legend calls each line, the name that it is recorded under.
        colours: (lines,).
    """
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(epochs) < 3 else ""
    for (label, name), colour in zip(lines.items(), colours, strict=True):
        values = [record[name] for record in history]
        axes.plot(epochs, values, color=colour, linewidth=1.6, marker=marker, label=label)
    axes.set(xlabel="epoch", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def can_be_drawn(text: str) -> bool:
    """Whether the font of the cards has all characters of ``text``."""
    font = get_font(findfont(FontProperties(family=STYLE["font.family"])))
    return all(font.get_char_index(ord(character)) for character in text)


def shorten(name: str, length: int) -> str:
    """``name``, cut to ``length`` characters where it is longer."""
    return name if len(name) <= length else name[: length - 1] + "…"
