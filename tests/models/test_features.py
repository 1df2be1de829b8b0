"""Features: what is watched of rows and predictions is what NumPy says of them."""

import math

import numpy as np
import pytest

from models.columns import Column, TablePreprocessing
from models.features import list_input_features, list_prediction_features, make_input_reader, make_prediction_reader
from models.image import ImagePreprocessing
from models.text import TextPreprocessing

TABLE = TablePreprocessing(
    columns=(
        Column(name="plan", type="category", categories=("monthly", "yearly")),
        Column(name="age", type="number"),
        Column(name="senior", type="boolean", categories=("0", "1")),
        Column(name="since", type="date"),
    ),
    target=Column(name="left", type="boolean", categories=("no", "yes")),
    target_shares=(0.5, 0.5),
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 32, 224])
def test_a_picture_has_the_mean_and_the_deviation_of_its_levels(size: int, channels: int) -> None:
    pixels = np.random.default_rng(size).integers(0, 256, (size, size, channels)).astype(np.uint8)
    preprocessing = ImagePreprocessing(height=size, width=size, channels=1 if channels == 1 else 3)
    assert [feature.name for feature in list_input_features(preprocessing)] == ["brightness", "contrast"]
    assert make_input_reader(preprocessing)((pixels,)) == pytest.approx([pixels.mean(), pixels.std()], abs=1e-6)


@pytest.mark.parametrize("level", [0, 255])
def test_a_plain_picture_has_no_contrast(level: int) -> None:
    read = make_input_reader(ImagePreprocessing(height=32, width=32, channels=3))
    assert read((np.full((32, 32, 3), level, np.uint8),)) == [level, 0]


def test_a_text_has_tokens_and_a_share_of_unknown_ones() -> None:
    preprocessing = TextPreprocessing(max_tokens=9, head_tokens=4, unknown_id=1)
    assert [feature.name for feature in list_input_features(preprocessing)] == ["tokens", "unknown_share"]
    read = make_input_reader(preprocessing)
    assert read((np.array([2, 7, 1, 9, 3], np.int32),)) == [5, 0.2]
    assert read((np.array([2, 7, 1, 3, 0, 0], np.int32),)) == [4, 0.25]
    tokens, share = read((np.zeros(2, np.int32),))
    assert tokens == 0
    assert math.isnan(float(share))


def test_a_row_of_a_table_has_its_columns_numbers_first() -> None:
    found = list_input_features(TABLE)
    assert [(feature.name, feature.is_numeric) for feature in found] == [
        ("age", True),
        ("since", True),
        ("plan", False),
        ("senior", False),
    ]
    row = np.array([40, np.nan], np.float32), np.array(["monthly", ""], object)
    age, since, plan, senior = make_input_reader(TABLE)(row)
    assert (age, plan, senior) == (40, "monthly", "")
    assert math.isnan(float(since))


def test_a_prediction_is_the_most_probable_label_and_its_probability() -> None:
    assert [feature.name for feature in list_prediction_features(has_decision=False)] == ["label", "confidence"]
    read = make_prediction_reader(("red", "green", "blue"), None)
    assert read(np.array([0.25, 0.5, 0.25], np.float32)) == ["green", 0.5]


@pytest.mark.parametrize(("probability", "label"), [(0.25, "stays"), (0.375, "goes"), (0.5, "goes")])
def test_where_there_is_a_decision_its_threshold_decides(probability: float, label: str) -> None:
    assert [feature.name for feature in list_prediction_features(has_decision=True)] == ["label", "probability"]
    read = make_prediction_reader(("stays", "goes"), 0.375)
    assert read(np.array([1 - probability, probability], np.float32)) == [label, probability]
