"""Parts of a batch side by side, each on a core of its own.

PyTorch's recurrent layers gain little from a second thread: on an AMD EPYC one trains an LSTM of 256 units on 56,000
tokens a second and two train it on 76,000, where two LSTMs side by side could read 112,000. Not so where the cores have
matrix units, which whole batches keep busier: two cores of an Intel Xeon pre-train on whole ones 1.15 times as fast.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from training.hardware import has_matrix_units

Part = TypeVar("Part")
Result = TypeVar("Result")
Rows = TypeVar("Rows", bound=Sequence[Any] | NDArray[Any])


class Shards:
    """Runs a function on parts of a batch: as many as a CPU without matrix units has threads, or else on one.

    Gradients of all parts come together in the parameters, whose accumulation PyTorch guards.

    Args:
        device: where the parts are computed.
        count: how many parts, where that is not to be chosen.
    """

    def __init__(self, device: torch.device, count: int | None = None) -> None:
        whole = device.type != "cpu" or has_matrix_units()
        self.count = count or (1 if whole else torch.get_num_threads())
        self._pool = None
        if self.count > 1:
            self._pool = ThreadPoolExecutor(self.count, "shard", initializer=torch.set_num_threads, initargs=(1,))

    def split(self, rows: Rows) -> list[Rows]:
        """Every so-manieth of ``rows`` for each shard: of rows in order of length, parts of like length."""
        return [rows[start :: self.count] for start in range(min(self.count, len(rows)))]  # type: ignore[misc]

    def run(self, compute: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """What ``compute`` returns of each part."""
        if self._pool is None:
            return [compute(part) for part in parts]
        return list(self._pool.map(compute, parts))
