"""How long runs take, by their rows: measured at the start, remembered since."""

from collections.abc import Mapping

# The share of the newest measurement in what is remembered: about the last twenty runs count.
_NEWEST_SHARE = 0.1


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

    def seconds(self, rows: int) -> float:
        """How long ``rows`` take, in as many runs as they need."""
        full_runs, rest = divmod(rows, self.max_rows)
        seconds = full_runs * self._seconds[-1]
        return seconds + self._seconds[(rest - 1).bit_length()] if rest else seconds

    def learn(self, rows: int, seconds: float) -> None:
        """A run of ``rows`` took ``seconds``."""
        power = (rows - 1).bit_length()
        self._seconds[power] += _NEWEST_SHARE * (seconds - self._seconds[power])
