"""How long runs and waits take: measured at the start, remembered since."""

from collections.abc import Mapping
from typing import Final

# The share of the newest measurement in what is remembered: about the last twenty count.
_NEWEST_SHARE: Final = 0.1
# Mean and mean deviation are followed side by side, and four deviations above the mean are hardly ever exceeded: as
# TCP foretells round trips (Jacobson 1988, "Congestion avoidance and control", and RFC 6298).
_DEVIATIONS: Final = 4
# Fewer for the wait, which is found out to be too long in time to do something else.
_MARGIN_DEVIATIONS: Final = 2
# A run that took more than so many times the mean, because the machine stood still, counts as so many; and a mean that
# was more than so many times what a run took, as one measured before all was warm, as so many too.
_MOST_TIMES: Final = 4
_MOST_OVERRUN: Final = 2.0
# For what is measured by nobody here: a request's way to the queue, and its answer's way to the client.
_LEAST_MARGIN: Final = 1.1


class Forecast:
    """Foretells how long rows will take.

    Args:
        measured: seconds of a run by its rows; of one row at least.
        max_batch_rows: the rows of one run at most.
    """

    def __init__(self, measured: Mapping[int, float], max_batch_rows: int) -> None:
        self.max_rows = max_batch_rows
        self._seconds: list[float] = []  # of a run with 1, 2, 3 to 4, 5 to 8, … rows
        for power in range((max_batch_rows - 1).bit_length() + 1):
            rows = min(2**power, max_batch_rows)
            nearest = max(known for known in measured if known <= rows)
            self._seconds.append(measured[nearest] * rows / nearest)
        self._deviation = 0.0  # of runs from what was foretold, as a share of it

    def seconds(self, rows: int) -> float:
        """How long ``rows`` take, in as many runs as they need."""
        full_runs, rest = divmod(rows, self.max_rows)
        seconds = full_runs * self._seconds[-1]
        return seconds + self._seconds[(rest - 1).bit_length()] if rest else seconds

    def longest_seconds(self, rows: int) -> float:
        """What one run of ``rows`` will hardly exceed."""
        return self._seconds[(rows - 1).bit_length()] * (1 + _DEVIATIONS * self._deviation)

    def learn(self, rows: int, seconds: float) -> None:
        """A run of ``rows`` took ``seconds``."""
        power = (rows - 1).bit_length()
        mean = min(self._seconds[power], _MOST_TIMES * seconds)
        error = min(seconds / mean, _MOST_TIMES) - 1
        self._seconds[power] = mean * (1 + _NEWEST_SHARE * error)
        # Above the mean alone, twice, which is as much where both sides are alike: a mean that comes down from what was
        # far too high is not doubted for it.
        self._deviation += _NEWEST_SHARE * (2 * max(error, 0.0) - self._deviation)
        self._adjust_others(power)

    def _adjust_others(self, power: int) -> None:
        """Keep what is foretold of other runs within what is known by this one.

        More rows take no less than fewer, and twice as many no more than two such runs. Runs that are not admitted, or
        dropped, for what is foretold of them would otherwise never show that it is wrong.
        """
        seconds = self._seconds
        for larger in range(power + 1, len(seconds)):
            known = seconds[larger - 1]
            if known <= seconds[larger] <= 2 * known:
                break
            seconds[larger] = min(max(seconds[larger], known), 2 * known)
        for smaller in reversed(range(power)):
            known = seconds[smaller + 1]
            if known / 2 <= seconds[smaller] <= known:
                break
            seconds[smaller] = min(max(seconds[smaller], known / 2), known)


class Margin:
    """How many times as long as foretold a wait may turn out to be, by those before it."""

    def __init__(self) -> None:
        self._mean = 1.0
        self._deviation = 0.0
        self.factor = _LEAST_MARGIN

    def learn(self, foretold_seconds: float, seconds: float) -> None:
        """A wait for which ``foretold_seconds`` were foretold took ``seconds``."""
        error = min(seconds / foretold_seconds, _MOST_OVERRUN) - self._mean
        self._mean += _NEWEST_SHARE * error
        self._deviation += _NEWEST_SHARE * (abs(error) - self._deviation)
        self.factor = max(_LEAST_MARGIN, self._mean + _MARGIN_DEVIATIONS * self._deviation)
