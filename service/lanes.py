"""Rows that vary in length, as texts do: which of them are run together, and how many at a time."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

from service.errors import UnprocessableError

# How long the shortest rows are that are told apart, and how many lanes there are from a length to twice as much.
# Found by playing a queue through with the run times of a BiLSTM of 256 units, measured on one core (AMD EPYC), and the
# lengths of 3,000 of IMDB's reviews, 16 and 64 requests at a time: 203 and 198 a second with two lanes, 176 and 173
# with one, 206 and 212 with four, which is twice as much to be warmed, and 123 and 123 with all lengths run together.
_SHORTEST: Final = 16
_LANES_ON_CPU: Final = 2
# On a GPU a row is filled up to the length of its lane, and each is a shape to be warmed. This has not been measured.
_LANES_ON_GPU: Final = 1
# The same queue with runs of at most 512, 1,024, 2,048 and 4,096 tokens on the CPU, 64 requests at a time: 133, 159,
# 202 and 198 a second, and the slowest of a hundred after 594, 536, 440 and 542 ms. A CPU gains by four rows in a run
# and little by more; a GPU takes about as long for one row as for many.
_MAX_TOKENS_ON_CPU: Final = 2048


class Lane(NamedTuple):
    """Rows that are run together: those up to a length, from the next shorter lane's on."""

    length: int
    max_rows: int  # of one run


def make_lanes(longest: int, row_buckets: Sequence[int], max_tokens: int | None, *, on_cpu: bool) -> tuple[Lane, ...]:
    """The lanes for rows that vary in length, the shortest first.

    Args:
        longest: the length of a row at most.
        row_buckets: the numbers of rows that a run may have, ascending.
        max_tokens: the rows of a run times the length of their lane at most, though one row may always be run. None for
            what is good for the CPU, and on a GPU for no such bound.
        on_cpu: whether they are run on the CPU.
    """
    step = 1 / (_LANES_ON_CPU if on_cpu else _LANES_ON_GPU)
    lengths = [longest]
    if max_tokens is None:
        max_tokens = _MAX_TOKENS_ON_CPU if on_cpu else row_buckets[-1] * longest
    length = float(_SHORTEST)
    while round(length) < longest:
        lengths.insert(-1, round(length))
        length *= 2**step
    return tuple(
        Lane(length, max((rows for rows in row_buckets if rows * length <= max_tokens), default=1))
        for length in lengths
    )


def find_lane(lanes: Sequence[Lane], length: int) -> int:
    """The place of the lane for rows of ``length``.

    Raises:
        UnprocessableError: there is none for so long a row.
    """
    if length > lanes[-1].length:
        raise UnprocessableError([("inputs", f"a row is {length:,} long, expected at most {lanes[-1].length:,}")])
    return bisect_left(lanes, (length,))
