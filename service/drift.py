"""How far what a version is asked, and what it answers, has drifted from what its manifest says that it has seen.

The measure is the population stability index of a feature, the sum over its bins of (now - then) * ln(now / then) of
the shares of rows (Siddiqi 2006, "Credit Risk Scorecards", chapter 8; Yurdakul 2018, "Statistical Properties of the
Population Stability Index"). By custom, less than 0.1 is no change that matters, and more than 0.25 one to look into.
Without any drift it is about (bins - 1) / rows, which is 0.02 at MIN_ROWS.

Rows are counted in bins while they are answered, and indices are computed when somebody asks. Of a row that is counted
nothing is kept.
"""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from models.distributions import Statistics
from models.features import Row, make_input_reader, make_prediction_reader
from models.manifest import Manifest
from service.config import Settings

MIN_ROWS: Final = 500
_BLOCKS: Final = 10
_FLOOR: Final = 1e-4  # of a share: the logarithm of an empty bin has no value
_LONGEST_SECONDS: Final = 0.001  # that may be spent at once


class Drift(NamedTuple):
    """The index of each feature over the last ``rows`` that were counted; none before there are MIN_ROWS."""

    rows: int
    inputs: Mapping[str, float]
    predictions: Mapping[str, float]


class DriftWatch:
    """Counts the rows that a version answers, in a window that slides in steps of a tenth. For one thread.

    Args:
        manifest: the version's.
        statistics: likewise.
        rows: of the window at most.
        share: of the thread's time that counting may take, on average. Beyond it rows are left out; at 1 none are.
    """

    def __init__(self, manifest: Manifest, statistics: Statistics, rows: int, share: float) -> None:
        self._read = make_input_reader(manifest.preprocessing)
        threshold = None if manifest.decision is None else manifest.decision.threshold
        self._predict = make_prediction_reader(manifest.labels, threshold)
        self._input_names = [each.name for each in statistics.inputs]
        self._prediction_names = [each.name for each in statistics.predictions]
        distributions = (*statistics.inputs, *statistics.predictions)
        self._finders = [each.make_finder() for each in distributions]
        sizes = [len(each.bins) for each in distributions]
        self._starts: list[int] = np.cumsum([0, *sizes[:-1]]).tolist()
        self._then = np.array([share for each in distributions for share in each.bins])
        self._block_rows = rows // _BLOCKS
        self._blocks: deque[list[int]] = deque(maxlen=_BLOCKS - 1)  # that are full
        self._counts = [0] * len(self._then)
        self._rows = 0  # in counts
        self._share = share
        self._most_credit = self._credit = math.inf if share == 1 else _LONGEST_SECONDS
        self._last = time.perf_counter()

    def observe(self, rows: Sequence[Row], results: Sequence[Row]) -> None:
        """Count rows and the graph's outputs for them, as far as there is time.

        Measured on one core (AMD EPYC, with other work beside it): 5 us for a row of 19 columns, 250 tokens or 32 x 32
        pixels, and 0.4 us for a request that there is no time for. The indices take 20 to 40 us.
        """
        began = now = time.perf_counter()
        credit = min(self._credit + (began - self._last) * self._share, self._most_credit)
        self._last = began
        if credit > 0:
            for row, result in zip(rows, results, strict=True):
                self._add(row, result)
                now = time.perf_counter()
                if now - began > credit:
                    break
        self._credit = credit - (now - began)

    def measure(self) -> Drift:
        """The indices of the window as it is now."""
        rows = self._rows + len(self._blocks) * self._block_rows
        if rows < MIN_ROWS:
            return Drift(rows, {}, {})
        now = np.maximum(np.sum([*self._blocks, self._counts], axis=0) / rows, _FLOOR)
        then = np.maximum(self._then, _FLOOR)
        indices = np.add.reduceat((now - then) * np.log(now / then), self._starts).tolist()
        inputs = len(self._input_names)
        return Drift(
            rows,
            dict(zip(self._input_names, indices[:inputs], strict=True)),
            dict(zip(self._prediction_names, indices[inputs:], strict=True)),
        )

    def _add(self, row: Row, result: Row) -> None:
        values = (*self._read(row), *self._predict(result[0]))
        counts = self._counts
        for start, find, value in zip(self._starts, self._finders, values, strict=True):
            counts[start + find(value)] += 1
        self._rows += 1
        if self._rows == self._block_rows:
            self._blocks.append(counts)
            self._counts, self._rows = [0] * len(counts), 0


def watch_drift(manifest: Manifest, settings: Settings) -> DriftWatch | None:
    """What watches a version; None where it says nothing of what it has seen, or nothing is to be watched."""
    if manifest.statistics is None or not settings.drift_share:
        return None
    return DriftWatch(manifest, manifest.statistics, settings.drift_rows, settings.drift_share)
