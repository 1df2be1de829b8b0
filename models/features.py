"""What is watched of the rows that a graph reads and of what it answers. Training and service both call this.

A feature is a number or a text that says something about a row:

- of a picture its ``brightness`` and its ``contrast``, the mean and the standard deviation of its levels, 0 to 255;
- of a text how many ``tokens`` are read of it, the two around it counted in, and the ``unknown_share`` of them;
- of a row of a table the value of each column, under the column's name;
- of a prediction its ``label``, and the probability that speaks for it: where there is a decision, the ``probability``
  of the last label, which decides; else the ``confidence``, that of the label itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.columns import TablePreprocessing
from models.distributions import Value
from models.image import ImagePreprocessing
from models.text import TextPreprocessing

Row = Sequence[NDArray[Any]]  # one array for each input of the graph, without the batch dimension
Preprocessing = ImagePreprocessing | TablePreprocessing | TextPreprocessing


class Feature(NamedTuple):
    """A feature's name, and whether its values are numbers: else they are texts."""

    name: str
    is_numeric: bool


_OF_IMAGES: Final = (Feature("brightness", True), Feature("contrast", True))
_OF_TEXTS: Final = (Feature("tokens", True), Feature("unknown_share", True))


def list_input_features(preprocessing: Preprocessing) -> tuple[Feature, ...]:
    """The features of a row that was read as ``preprocessing`` says."""
    if isinstance(preprocessing, ImagePreprocessing):
        return _OF_IMAGES
    if isinstance(preprocessing, TextPreprocessing):
        return _OF_TEXTS
    columns = (*preprocessing.numeric_columns, *preprocessing.text_columns)
    return tuple(Feature(column.name, column.is_numeric) for column in columns)


def list_prediction_features(*, has_decision: bool) -> tuple[Feature, ...]:
    """The features of a prediction."""
    return Feature("label", False), Feature("probability" if has_decision else "confidence", True)


def make_input_reader(preprocessing: Preprocessing) -> Callable[[Row], list[Value]]:
    """What gives the values of a row's features, in the order of :func:`list_input_features`."""
    if isinstance(preprocessing, ImagePreprocessing):
        return _read_image
    if isinstance(preprocessing, TablePreprocessing):
        return _read_table_row
    padding_id, unknown_id = preprocessing.padding_id, preprocessing.unknown_id

    def read_text(row: Row) -> list[Value]:
        ids = row[0]
        tokens = len(ids) - int(np.count_nonzero(ids == padding_id))
        return [tokens, int(np.count_nonzero(ids == unknown_id)) / tokens if tokens else math.nan]

    return read_text


def make_prediction_reader(labels: Sequence[str], threshold: float | None) -> Callable[[NDArray[Any]], list[Value]]:
    """What gives the values of a prediction's features from the probabilities of ``labels``, (labels,).

    Args:
        labels: in the order of the probabilities.
        threshold: of the decision for the last label; None where the most probable label is the prediction.
    """
    if threshold is not None:
        decided = threshold

        def read_decision(probabilities: NDArray[Any]) -> list[Value]:
            probability = float(probabilities[-1])
            return [labels[-1 if probability >= decided else 0], probability]

        return read_decision

    def read_label(probabilities: NDArray[Any]) -> list[Value]:
        best = int(probabilities.argmax())
        return [labels[best], float(probabilities[best])]

    return read_label


def _read_image(row: Row) -> list[Value]:
    # By OpenCV: NumPy takes 10 times as long for a picture of 32 x 32.
    pixels = row[0]
    mean = cv2.norm(pixels, cv2.NORM_L1) / pixels.size
    variance = cv2.norm(pixels, cv2.NORM_L2SQR) / pixels.size - mean * mean
    return [mean, math.sqrt(max(variance, 0.0))]


def _read_table_row(row: Row) -> list[Value]:
    return [value for part in row for value in part.tolist()]
