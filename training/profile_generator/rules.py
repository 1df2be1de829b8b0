"""What always holds between two columns of a table: where one has this value, the other has that one.

A rule is kept where it holds without exception in the training rows, and by chance would not: were the two columns
unrelated, the chance that any such rule arose would be below ``MAX_CHANCE``, all pairs of values counted (Bonferroni).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from training.profile_generator.encoding import Encoding, NumberCode
from training.table import Table

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Pairs = Mapping[tuple[int, int], Mask]

MAX_CHANCE = 0.01


@dataclass(frozen=True)
class Rule:
    """Where column ``condition`` has ``condition_token``, column ``consequence`` has ``consequence_token``.

    Columns are numbered as they are generated, the target first; ``rows`` is how many training rows show it.
    """

    condition: int
    condition_token: int
    consequence: int
    consequence_token: int
    rows: int

    def broken(self, tokens: Integers) -> Mask:
        """Which of the rows (rows, 1 + columns) break it."""
        result: Mask = (tokens[:, self.condition] == self.condition_token) & (
            tokens[:, self.consequence] != self.consequence_token
        )
        return result


def encode_all(encoding: Encoding, table: Table) -> Integers:
    """The target and then the tokens of ``table``, (rows, 1 + columns)."""
    tokens: Integers = np.concatenate((table.targets[:, np.newaxis], encoding.encode(table)), axis=1)
    return tokens


def find_rules(encoding: Encoding, table: Table) -> list[Rule]:
    """The rules that hold in ``table``."""
    tokens = encode_all(encoding, table)
    sizes = (2, *encoding.sizes)
    telling, exact = _tokens_that(encoding, NumberCode.is_telling), _tokens_that(encoding, NumberCode.is_exact)
    tests = sum(map(sum, telling)) * (len(sizes) - 1)
    hot = [np.eye(size, dtype=np.int64)[np.maximum(tokens[:, place], 0)] for place, size in enumerate(sizes)]
    for place, column in enumerate(hot):
        column[tokens[:, place] < 0] = 0
    rules: list[Rule] = []
    for condition in range(len(sizes)):
        for consequence in range(len(sizes)):
            if condition != consequence:
                counts = hot[condition].T @ hot[consequence]
                unknown = hot[condition][tokens[:, consequence] < 0].sum(axis=0)
                shares = hot[consequence].mean(axis=0)
                rules += _rules_of(
                    (condition, telling[condition]),
                    (consequence, exact[consequence]),
                    counts,
                    unknown,
                    shares,
                    log(MAX_CHANCE / tests),
                )
    return rules


def forbidden_pairs(rules: Sequence[Rule], sizes: Sequence[int]) -> Pairs:
    """For pairs of columns (earlier, later) which pairs of tokens may not be generated: (tokens, tokens) each.

    What two rules demand of one column can be at odds; then their conditions may not come together either.
    """
    pairs: dict[tuple[int, int], Mask] = {}

    def forbid(first: int, first_token: int, second: int, others: Mask) -> None:
        early, late = min(first, second), max(first, second)
        mask = pairs.setdefault((early, late), np.zeros((sizes[early], sizes[late]), dtype=np.bool_))
        if early == first:
            mask[first_token] |= others
        else:
            mask[:, first_token] |= others

    for rule in rules:
        others = np.ones(sizes[rule.consequence], dtype=np.bool_)
        others[rule.consequence_token] = False
        forbid(rule.condition, rule.condition_token, rule.consequence, others)
    for first in rules:
        for second in rules:
            at_odds = first.consequence == second.consequence and first.consequence_token != second.consequence_token
            if at_odds and first.condition < second.condition:
                conflict = np.zeros(sizes[second.condition], dtype=np.bool_)
                conflict[second.condition_token] = True
                forbid(first.condition, first.condition_token, second.condition, conflict)
    return pairs


def describe_rules(rules: Sequence[Rule], encoding: Encoding) -> list[str]:
    """The rules in words, those with the same condition in one line."""
    conditions: dict[tuple[int, int], list[Rule]] = {}
    for rule in rules:
        conditions.setdefault((rule.condition, rule.condition_token), []).append(rule)
    lines = []
    for (condition, token), found in conditions.items():
        then = ", ".join(_describe(encoding, rule.consequence, rule.consequence_token) for rule in found)
        lines.append(f"{_describe(encoding, condition, token)}: {then} ({found[0].rows:,} training rows)")
    return lines


def _rules_of(
    condition: tuple[int, Sequence[bool]],
    consequence: tuple[int, Sequence[bool]],
    counts: Integers,
    unknown: Integers,
    shares: NDArray[np.float64],
    least_evidence: float,
) -> list[Rule]:
    """The rules between two columns, each given with which of its tokens may stand in one.

    ``counts`` (tokens, tokens) is how often they come together, ``unknown`` (tokens,) how often a condition comes with
    an unknown consequence, ``shares`` (tokens,) how frequent consequences are.
    """
    found = []
    for token, row in enumerate(counts):
        rows = int(row.sum())
        if not condition[1][token] or rows == 0 or (row > 0).sum() != 1 or unknown[token]:
            continue
        then = int(row.argmax())
        if consequence[1][then] and rows * log(shares[then]) < least_evidence:
            found.append(Rule(condition[0], token, consequence[0], then, rows))
    return found


def _tokens_that(encoding: Encoding, may: Callable[[NumberCode, int], bool]) -> list[list[bool]]:
    """For each column, the target first, which tokens may stand in a rule; all of those that are no numbers."""
    columns = [
        [not isinstance(code, NumberCode) or may(code, token) for token in range(code.size)] for code in encoding.codes
    ]
    return [[True, True], *columns]


def _describe(encoding: Encoding, column: int, token: int) -> str:
    if column == 0:
        target = encoding.preprocessing.target
        return f"{target.name} = '{target.categories[token]}'"
    code = encoding.codes[column - 1]
    if not isinstance(code, NumberCode) or code.relation is None or code.describe(token) == "missing":
        return f"{code.column.name} = {code.describe(token)}"
    sign = f" + {code.describe(token)} scaled" if code.knots[token, 0] else ""
    return f"{code.column.name} = {describe_base(encoding, code)}{sign}"


def describe_base(encoding: Encoding, code: NumberCode) -> str:
    """What the values of a column with a relation follow from."""
    numeric = encoding.preprocessing.numeric_columns
    if code.relation is not None and code.relation.factors is not None:
        return " x ".join(numeric[factor].name for factor in code.relation.factors)
    return "the sum over categories"
