"""The pictures of a model card. Each function draws one and writes it as a PNG; the same facts give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from training.drawing import BLUE, GREEN, GREY, RED, draw_over_epochs, open_figure, shorten

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

THUMBNAIL_COLUMNS = 8
NAME_LENGTH = 14
THUMBNAIL_SIDE = 48
MAX_FILTERS = 32
MAX_FEATURE_MAPS = 32
MOSAIC_COLUMNS = 8
MOSAIC_SIDE = 24
FEATURES_WIDTH = 9.0
TINY = 1e-12


def draw_learning_curves(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Loss and accuracy after each epoch, on the training and on the validation split."""
    with open_figure(path, 7.6, 2.9) as figure:
        for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            lines = {split: f"{split}_{quantity}" for split in ("train", "validation")}
            draw_over_epochs(axes, history, lines, (GREY, BLUE))
            axes.set(title=quantity.capitalize())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(loc="lower right")


def draw_predictions(path: Path, images: Pixels, probabilities: Floats, labels: Integers, names: Sequence[str]) -> None:
    """Test images that were classified rightly, over all classes, and those that were most confidently wrong."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    # Pictures that show more detail are shown fewer at a time, to keep the file small.
    count = THUMBNAIL_COLUMNS * (2 if max(images.shape[1:3]) <= 32 else 1)
    wrong = np.flatnonzero(predicted != labels)
    right = _spread(np.flatnonzero(predicted == labels), labels, count)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    titled = (("Right, over all classes", right, 1), ("Most confidently wrong, with the true class below", worst, 2))
    blocks = [(title, rows, lines) for title, rows, lines in titled if len(rows)]
    # In inches, all of whole pixels, so that every pixel of a thumbnail is as large as the next.
    line_height, heading_height, side, pitch = 0.125, 0.35, 0.8, 0.95
    row_heights = [0.9 + line_height * lines for _, _, lines in blocks]
    heights = [
        heading_height + row_height * -(-len(rows) // THUMBNAIL_COLUMNS)
        for (_, rows, _), row_height in zip(blocks, row_heights, strict=True)
    ]
    with open_figure(path, pitch * THUMBNAIL_COLUMNS + 0.05, sum(heights), layout=None) as figure:
        top = sum(heights)
        for (title, rows, lines), height, row_height in zip(blocks, heights, row_heights, strict=True):
            _write(figure, 0.1, top - 0.2, title, fontsize=10)
            for place, row in enumerate(rows):
                line, column = divmod(place, THUMBNAIL_COLUMNS)
                left, bottom = 0.1 + pitch * column, top - heading_height + 0.05 - side - line * row_height
                _show(_place(figure, left, bottom, side), _thumbnail(images[row]))
                guess, truth = shorten(names[predicted[row]], 10), shorten(names[labels[row]], NAME_LENGTH)
                caption = [f"{guess} {confidence[row]:.0%}", truth]
                for number, text in enumerate(caption[:lines], start=1):
                    colour = GREY if number == 2 else GREEN if lines == 1 else RED
                    _write(figure, left, bottom - line_height * number, text, fontsize=7, color=colour)
            top -= height


def draw_features(path: Path, image: Pixels, filters: Floats, feature_maps: Floats) -> None:
    """The filters of the first layer, and what they answer for one image.

    Args:
        path: where to write.
        image: (height, width, channels) that ``feature_maps`` was computed from.
        filters: (filters, channels, height, width); a dense layer's weights in the same form.
        feature_maps: (maps, height, width); none where the first layer is dense.
    """
    weights = filters[:MAX_FILTERS].transpose(0, 2, 3, 1)
    strongest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    panels = [
        ("Image", image),
        ("Filters of the first layer", _mosaic(0.5 + weights / (2 * np.maximum(strongest, TINY)))),
    ]
    if len(feature_maps):
        maps = feature_maps[:MAX_FEATURE_MAPS, :, :, np.newaxis]
        low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
        panels.append(("Feature maps of the image", _mosaic((maps - low) / np.maximum(high - low, TINY))))
    ratios = [panel.shape[1] / panel.shape[0] for _, panel in panels]
    with open_figure(path, FEATURES_WIDTH, 0.3 + FEATURES_WIDTH / max(sum(ratios), 4.0)) as figure:
        for axes, (title, panel) in zip(figure.subplots(1, len(panels), width_ratios=ratios), panels, strict=True):
            axes.set_title(title)
            _show(axes, panel)


def _place(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """Axes at a place of ``figure``, all in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, side / width, side / height))


def _write(figure: Figure, left: float, bottom: float, text: str, **style: Any) -> None:
    """Text at a place of ``figure``, in inches."""
    width, height = figure.get_size_inches()
    figure.text(left / width, bottom / height, text, **style)


def _thumbnail(image: Pixels) -> Pixels:
    """``image``, shrunk where it is larger than a thumbnail, in steps of four: nobody sees those, but the file does."""
    if max(image.shape[:2]) > THUMBNAIL_SIDE:
        picture = Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image)
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
        image = np.asarray(picture).reshape(picture.height, picture.width, -1)
    return image & np.uint8(0xFC) | np.uint8(2)


def _show(axes: Axes, picture: NDArray[Any]) -> None:
    """One picture (height, width, channels) without axes: RGB, pixels of one channel in grey, values in colours."""
    single = picture.shape[2] == 1
    colours = "gray" if picture.dtype == np.uint8 else "viridis"
    axes.imshow(picture[:, :, 0] if single else picture, cmap=colours, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _mosaic(pictures: Floats) -> Floats:
    """Pictures (count, height, width, channels) of values from 0 to 1 as one picture of rows, with gaps."""
    count, _, _, channels = pictures.shape
    factor = max(1, MOSAIC_SIDE // pictures.shape[1])
    pictures = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    gap = max(1, pictures.shape[1] // 10)
    columns = MOSAIC_COLUMNS if count > MOSAIC_COLUMNS else -(-count // 2)
    rows = -(-count // columns)
    blank = np.nan if channels == 1 else 1.0
    cell = (pictures.shape[1] + gap, pictures.shape[2] + gap)
    mosaic = np.full((rows * cell[0], columns * cell[1], channels), blank)
    for index, picture in enumerate(pictures):
        top, left = index // columns * cell[0], index % columns * cell[1]
        mosaic[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return mosaic[:-gap, :-gap]


def _spread(rows: Integers, labels: Integers, count: int) -> Integers:
    """``count`` of ``rows``, one of each class before a second of any, in order of class."""
    order = np.lexsort((rows, _turns(labels[rows])))
    chosen = rows[order][:count]
    return chosen[np.lexsort((chosen, labels[chosen]))]


def _turns(labels: Integers) -> Integers:
    """For each label how many of the same stand before it."""
    turns = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        turns[places] = np.arange(len(places))
    return turns
