"""Owen values: how much each token of a sequence has to do with what a model says of the whole.

The sequence is halved, its halves are halved, and so on down to single tokens. A token's value is the mean, over all
orders in which the tokens can appear while each of these groups stays together, of the change that its own appearance
brings about: the Shapley value, where neighbours act as one against what is further away.

Not all of the orders are needed. Those that turn all groups of a level around or none will do: over these alone, a
token meets its neighbours in each group hidden and shown as often as over all. And an order goes with its reverse, by
half the difference between the score of some tokens and the score of all the others, which has the same values. The
orders are gone through until the evaluations are used up; of an order that cannot be finished, the groups of the
largest changes are cut first.

How far that is from the exact values, by the Euclidean norm, for reviews and a bidirectional LSTM: 19 % after 200
evaluations and 9 % after 500 (five reviews of 50 to 110 tokens), 44 % and 32 % (two of 200 tokens). Going down the tree
with all orders at once, as SHAP's ``PartitionExplainer`` does, leaves 77 % and 54 %, 80 % and 68 %.

Sources: Owen 1977, "Values of games with a priori unions", in Mathematical Economics and Game Theory, pages 76 to 88,
for groups of one level; Winter 1989, "A value for cooperative games with levels structure of cooperation",
International Journal of Game Theory 18, pages 227 to 240, for groups of groups; Lundberg's ``PartitionExplainer`` for a
tree of halves and the largest group first; Saavedra-Nieves, García-Jurado and Fiestras-Janeiro 2018, "Estimation of the
Owen value based on sampling", for some orders in place of all; Mitchell, Cooper, Frank and Holmes 2022, "Sampling
permutations for Shapley value estimation", for their reverses.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]
Scores = NDArray[np.float64]
Score = Callable[[Masks], Scores]  # (rows, length), True where a token is shown -> (rows,)

_EVALUATIONS_OF_A_MASK: Final = 2  # itself and its opposite
# Groups cut between two looks at which are the largest: enough for a run to be cheap for each row.
_CUTS_AT_ONCE: Final = 16


def attribute(length: int, score: Score, max_evaluations: int) -> tuple[float, Scores]:
    """The score of all tokens hidden, and the tokens' values, (length,), which add up to the score of all shown.

    They are exact where there are evaluations enough, some two thirds of the square of ``length``; and where there are
    twice as many as tokens, if no more than two tokens act together. With fewer, a group that is not cut has its value
    shared equally among its tokens.

    Args:
        length: the number of tokens.
        score: what is explained. It is asked about 2 to 32 rows at a time, and about none of them twice.
        max_evaluations: the rows, in all, that it may be asked about; at least 2.

    Raises:
        ValueError: ``max_evaluations`` is too small.
    """
    if max_evaluations < _EVALUATIONS_OF_A_MASK:
        raise ValueError(f"max_evaluations: {max_evaluations}, expected at least {_EVALUATIONS_OF_A_MASK}")
    hidden, shown = score(np.repeat([[False], [True]], length, axis=1)).tolist()
    leads = _Leads(score, max_evaluations // _EVALUATIONS_OF_A_MASK - 1)
    all_tokens = _Group(0, length, 0, np.zeros(length, np.bool_), (hidden - shown) / 2, (shown - hidden) / 2)
    halves = _Halves()
    for turns in _list_turns(levels=(length - 1).bit_length()):
        if leads.left == 0:
            break
        _follow(turns, all_tokens, leads, halves)
    return hidden, halves.share_out(length, shown - hidden)


class _Group(NamedTuple):
    """The tokens from ``start`` to ``stop`` in an order: the tokens ``before`` them, and the leads without and with."""

    start: int
    stop: int
    level: int
    before: Masks  # (length,)
    without: float
    with_it: float

    @property
    def change(self) -> float:
        """What this order and its reverse give the group."""
        return self.with_it - self.without


class _Leads:
    """The leads of masks: half of what their score is above that of their opposites.

    Args:
        score: of masks.
        left: how many masks may still be evaluated.
    """

    def __init__(self, score: Score, left: int) -> None:
        self._score = score
        self._known: dict[bytes, float] = {}
        self.left = left

    def find(self, masks: Masks) -> list[float]:
        """The leads of ``masks``, (masks, length), of which no more than ``left`` may be new, and none stands twice."""
        keys = [mask.tobytes() for mask in masks]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            scores, opposites = self._score(np.concatenate((masks[new], ~masks[new]))).reshape(2, -1)
            self._known |= zip((keys[place] for place in new), ((scores - opposites) / 2).tolist(), strict=True)
            self.left -= len(new)
        return [self._known[key] for key in keys]


class _Halves:
    """What orders have given to both halves of each group."""

    def __init__(self) -> None:
        self._changes: dict[tuple[int, int], list[tuple[float, float]]] = {}

    def add(self, start: int, stop: int, left: float, right: float) -> None:
        """Note what one order has given to the halves of a group."""
        self._changes.setdefault((start, stop), []).append((left, right))

    def share_out(self, length: int, value: float) -> Scores:
        """The tokens' values, (length,), which add up to ``value``.

        A group's value goes to its halves as the orders that have cut it say, and what the others differ by goes to
        all of its tokens equally.
        """
        values = np.zeros(length)
        groups = [(0, length, value)] if length else []
        for start, stop, of_group in groups:  # grows while it is read: each group before its halves
            changes = self._changes.get((start, stop))
            if changes is None:
                values[start:stop] = of_group / (stop - start)
                continue
            middle = (start + stop) // 2
            left, right = (sum(each) / len(changes) for each in zip(*changes, strict=True))
            for_each = (of_group - left - right) / (stop - start)
            groups.append((start, middle, left + for_each * (middle - start)))
            groups.append((middle, stop, right + for_each * (stop - middle)))
        return values


def _list_turns(levels: int) -> Iterator[int]:
    """All the orders: a number with a bit for each level that is turned around. The top one is turned by reverses only.

    First come Walsh functions of the level: once there are as many as levels, rounded up to a power of two, any two
    levels are turned together, one of them alone, and neither, equally often.
    """
    rows = range(1 << (levels - 1).bit_length())
    balanced = [sum(((row & level).bit_count() & 1) << level for level in range(levels)) for row in rows]
    yield from balanced
    yield from (turns for turns in range(0, 2**levels, 2) if turns not in balanced)


def _follow(turns: int, all_tokens: _Group, leads: _Leads, halves: _Halves) -> None:
    """Cut the groups of an order, the largest changes first, down to single tokens or as far as may be."""
    waiting = [all_tokens] if all_tokens.stop > 1 else []
    while waiting and leads.left:
        waiting.sort(key=lambda group: -abs(group.change))
        portion = min(leads.left, _CUTS_AT_ONCE)
        cut, waiting = waiting[:portion], waiting[portion:]
        waiting += (half for half in _cut(turns, cut, leads, halves) if half.stop - half.start > 1)


def _cut(turns: int, groups: Sequence[_Group], leads: _Leads, halves: _Halves) -> Iterator[_Group]:
    """The halves of each group, in the order of ``turns``."""
    masks = np.array([group.before for group in groups])  # (groups, length)
    bounds = []
    for group, mask in zip(groups, masks, strict=True):
        middle = (group.start + group.stop) // 2
        left, right = (group.start, middle), (middle, group.stop)
        first, second = (right, left) if turns >> group.level & 1 else (left, right)
        mask[slice(*first)] = True
        bounds.append((first, second))
    for group, mask, lead, (first, second) in zip(groups, masks, leads.find(masks), bounds, strict=True):
        earlier = _Group(*first, group.level + 1, group.before, group.without, lead)
        later = _Group(*second, group.level + 1, mask, lead, group.with_it)
        of_left, of_right = sorted((earlier, later), key=lambda half: half.start)
        halves.add(group.start, group.stop, of_left.change, of_right.change)
        yield earlier
        yield later
