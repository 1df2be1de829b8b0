"""The pictures of a model card. Each function draws one and writes it as a PNG; the same facts give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.drawing import BLUE, GREY, ORANGE, draw_over_epochs, open_figure, shorten
from training.images import Images

Pixels = NDArray[np.uint8]  # (height, width, channels)

NAME_LENGTH = 14
PIXEL = 1 / 40  # of a figure's width, in inches
NAME_WIDTH = 1.1
MAX_GRID_WIDTH = 8.0
GAP = 2
BLANK = 255


def arrange(images: Images, columns: int) -> Pixels:
    """Images (count, height, width, channels) in rows as one picture, with white lines between them."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), BLANK, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def draw_rows(path: Path, images: Images, names: Sequence[str], headings: Sequence[tuple[int, str]] = ()) -> None:
    """Rows of images, each with its name at the left.

    Args:
        path: where to write.
        images: (count, height, width, channels), as many in each row.
        names: one for each row.
        headings: what stands above, with the column that it begins at.
    """
    columns = len(images) // len(names)
    picture = arrange(images, columns)
    height, width = picture.shape[:2]
    scale = min(PIXEL, MAX_GRID_WIDTH / width)
    above = 0.25 if headings else 0.05
    inches = NAME_WIDTH + width * scale + 0.05, above + height * scale + 0.05
    with open_figure(path, *inches, layout=None) as figure:
        place = NAME_WIDTH / inches[0], 0.05 / inches[1], width * scale / inches[0], height * scale / inches[1]
        axes = figure.add_axes(place)
        _show(axes, picture)
        line = images.shape[1] + GAP
        axes.set_yticks([index * line + images.shape[1] / 2 for index in range(len(names))])
        axes.set_yticklabels([shorten(name, NAME_LENGTH) for name in names])
        axes.tick_params(length=0)
        for column, heading in headings:
            axes.text(column * (images.shape[2] + GAP), -3, heading, fontsize=8, va="bottom")


def draw_learning_curves(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Losses, distance to the validation images, and what is recognised and how diverse it is, after each epoch."""
    with open_figure(path, 8.6, 2.7) as figure:
        losses, distance, shares = figure.subplots(1, 3)
        players = {name: f"{name}_loss" for name in ("discriminator", "generator")}
        draw_over_epochs(losses, history, players, (GREY, BLUE))
        losses.set(title="Losses")
        draw_over_epochs(distance, history, {"validation": "validation_frechet_distance"}, (BLUE,))
        distance.set(title="Fréchet distance", yscale="log")
        watched = {"recognised": "validation_accuracy", "diversity": "validation_diversity"}
        draw_over_epochs(shares, history, watched, (BLUE, ORANGE))
        shares.set(title="Images of validation labels", ylim=(0, None))
        shares.yaxis.set_major_formatter(PercentFormatter(1.0))
        losses.legend(loc="best")
        shares.legend(loc="lower right")


def _show(axes: Axes, picture: Pixels) -> None:
    single = picture.shape[2] == 1
    axes.imshow(picture[:, :, 0] if single else picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
