"""The style of the pictures in a model card; the same facts give the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
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


def shorten(name: str, length: int) -> str:
    """``name``, cut to ``length`` characters where it is longer."""
    return name if len(name) <= length else name[: length - 1] + "…"
