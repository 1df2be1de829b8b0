from pathlib import Path

import numpy as np
import pytest

from tests.training.profile_generator.tables import write_subscriptions
from training.profile_generator.encoding import PLACES, Encoding, build_encoding, exact_numbers
from training.profile_generator.relations import find_relations
from training.profile_generator.rules import Rule, describe_rules, encode_all, find_rules, forbidden_pairs
from training.table import Table, load_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("data")
    return load_table(str(write_subscriptions(folder / "table.csv")), folder, "cancelled")


@pytest.fixture(scope="module")
def encoding(table: Table) -> Encoding:
    return build_encoding(table, bins=12)


def test_tokens_say_what_a_row_has(encoding: Encoding, table: Table) -> None:
    tokens = encoding.encode(table)
    assert tokens.shape == (600, 8)
    assert (tokens >= 0).all()
    assert (tokens < np.array(encoding.sizes)).all()
    plan = encoding.texts[0]
    assert [plan.words[token] for token in tokens[:, 0]] == table.texts[:, 0].tolist()


def test_a_value_lies_between_the_knots_of_its_token(encoding: Encoding, table: Table) -> None:
    months = encoding.numbers[1]
    values = exact_numbers(table)[:, 1]
    knots = months.knots[months.encode(values)]
    assert knots.shape == (600, PLACES + 1)
    assert (knots[:, 0] <= values).all()
    assert (values <= knots[:, -1]).all()


def test_no_bin_reaches_over_a_frequent_value(table: Table) -> None:
    numbers = table.numbers.copy()
    numbers[:200, 1] = 30  # of months, in the middle of their range
    months = build_encoding(table.__class__(**{**vars(table), "numbers": numbers}), bins=8).numbers[1]
    assert 30 in months.knots[months.bins :, 0]
    for knots in months.knots[: months.bins]:
        assert not knots[0] < 30 < knots[-1]


def test_the_step_of_a_column_is_the_largest_that_fits_all_values(encoding: Encoding) -> None:
    assert [code.unit for code in encoding.numbers] == [1, 1, 0.05, 0.05]


def test_products_and_sums_are_found_and_products_come_last(encoding: Encoding) -> None:
    relations = [code.relation for code in encoding.numbers]
    assert relations[0] is None
    assert relations[1] is None
    assert relations[2] is not None
    assert relations[2].factors is None
    assert relations[3] is not None
    assert relations[3].factors == (1, 2)
    assert encoding.order == (0, 1, 2, 3)


def test_unrelated_numbers_have_no_relation() -> None:
    random = np.random.default_rng(0)
    numbers = random.uniform(1, 2, (500, 3))
    relations, order = find_relations(numbers, random.integers(0, 2, (500, 1)), [2])
    assert relations == [None, None, None]
    assert order == [0, 1, 2]


def test_rules_are_what_holds_without_exception(encoding: Encoding, table: Table) -> None:
    rules = find_rules(encoding, table)
    assert [line.partition(" (")[0] for line in describe_rules(rules, encoding)] == [
        "plan = 'basic': support = 'none'",
        "support = 'none': plan = 'basic'",
        "months = 0: total = missing",
        "total = missing: months = 0",
    ]
    tokens = encode_all(encoding, table)
    assert not any(rule.broken(tokens).any() for rule in rules)


def test_what_may_be_chance_is_no_rule(table: Table) -> None:
    few = table.take(np.arange(12))
    assert find_rules(build_encoding(few, bins=4), few) == []


def test_what_two_rules_demand_differently_may_not_come_together() -> None:
    pairs = forbidden_pairs([Rule(1, 0, 3, 0, 99), Rule(2, 0, 3, 1, 99)], sizes=(2, 2, 2, 2))
    assert pairs[1, 3].tolist() == [[False, True], [False, False]]
    assert pairs[2, 3].tolist() == [[True, False], [False, False]]
    assert pairs[1, 2].tolist() == [[True, False], [False, False]]


def test_the_table_is_read_from_its_file_alone(tmp_path: Path, table: Table, encoding: Encoding) -> None:
    again = load_table(str(write_subscriptions(tmp_path / "table.csv")), tmp_path, "cancelled")
    assert (build_encoding(again, bins=12).encode(again) == encoding.encode(table)).all()
