"""Distributions: each value has its bin, and what cannot be a distribution is refused by name."""

import math

import pytest
from pydantic import ValidationError

from models.distributions import CategoricalDistribution, NumericDistribution

AGES = NumericDistribution(name="age", edges=(0.0, 18.0, 65.0), shares=(0.1, 0.2, 0.3, 0.35), missing=0.05)
PLANS = CategoricalDistribution(
    name="plan", categories=("monthly", "yearly"), shares=(0.5, 0.3), other=0.15, missing=0.05
)


@pytest.mark.parametrize(
    ("value", "place"),
    [(-1.0, 0), (0.0, 0), (0.5, 1), (18.0, 1), (18.1, 2), (65.0, 2), (66, 3), (math.inf, 3), (-math.inf, 0)],
)
def test_a_number_is_in_the_first_bin_whose_edge_it_does_not_exceed(value: float, place: int) -> None:
    assert AGES.make_finder()(value) == place


def test_a_missing_number_has_a_bin_of_its_own() -> None:
    assert AGES.bins[AGES.make_finder()(math.nan)] == 0.05


def test_a_text_is_in_its_category_or_in_those_of_other_and_missing_ones() -> None:
    find = PLANS.make_finder()
    assert [PLANS.bins[find(text)] for text in ("monthly", "yearly", "weekly", "")] == [0.5, 0.3, 0.15, 0.05]


@pytest.mark.parametrize(
    ("change", "expectation"),
    [
        ({"edges": (0.0, 65.0, 18.0)}, "edges: of 'age' are [0.0, 65.0, 18.0], expected always more"),
        ({"edges": (0.0, 18.0, 18.0)}, "expected always more"),
        ({"edges": (0.0, math.nan, 1.0)}, "finite number"),
        ({"edges": (0.0, 18.0)}, "shares: of 'age' are 4, expected 3"),
        ({"missing": 0.5}, "shares: of 'age' and the rest add up to 1.45, expected 1"),
        ({"missing": math.nan}, "less than or equal to 1"),
        ({"shares": (0.1, 0.2, 0.7, -0.05)}, "greater than or equal to 0"),
        ({"shares": (0.1, 0.2, 0.3, 1.35)}, "less than or equal to 1"),
        ({"name": ""}, "at least 1 character"),
        ({"bins": 4}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_no_distribution_of_numbers_is_refused(change: dict[str, object], expectation: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        NumericDistribution.model_validate({**AGES.model_dump(), **change})
    assert expectation in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "expectation"),
    [
        (
            {"categories": ("monthly", "monthly")},
            "categories: of 'plan' are ['monthly', 'monthly'], expected each once",
        ),
        ({"categories": ("monthly", "")}, "at least 1 character"),
        ({"categories": ("monthly",)}, "shares: of 'plan' are 2, expected 1"),
        ({"other": 0.0}, "add up to 0.85, expected 1"),
    ],
)
def test_what_is_no_distribution_of_texts_is_refused(change: dict[str, object], expectation: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        CategoricalDistribution.model_validate({**PLANS.model_dump(), **change})
    assert expectation in str(refusal.value)
