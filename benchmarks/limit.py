"""What a request costs without HTTP: decode, infer and encode, called in one process with the fastest parts there are.

``python -m benchmarks.limit KIND VERSION_FOLDER BODIES_FOLDER`` prints JSON, in microseconds of CPU per request.
"""

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers.session import Steps
from benchmarks.workloads import KINDS


def measure(model: Steps, bodies: Sequence[bytes], batches: Sequence[int], seconds: float = 1.0) -> dict[str, float]:
    """The microseconds of CPU per request of each step, as ``decode``, ``infer_<batch>`` and ``encode``.

    A batch is of requests of like size, as the fastest of servers would have it; ``bodies`` may differ in size, and
    each is in as many batches as any other.
    """
    turns = itertools.cycle(bodies)
    contents = [model.decode(body) for body in sorted(bodies, key=len)]
    outputs = model.infer(model.stack(contents[:1]))
    costs = {"decode": _microseconds(lambda: model.decode(next(turns)), seconds)}
    for batch in batches:
        inputs = itertools.cycle(_stack(model, contents, batch))
        costs[f"infer_{batch}"] = _microseconds(lambda inputs=inputs: model.infer(next(inputs)), seconds) / batch  # type: ignore[misc]
    costs["encode"] = _microseconds(lambda: model.encode(contents[0], outputs), seconds)
    return costs


def _stack(model: Steps, contents: Sequence[Any], batch: int) -> list[Any]:
    """Neighbours in batches, which come in no order, so that any number of them in a row is like all of them."""
    turns = list(itertools.islice(itertools.cycle(contents), math.lcm(len(contents), batch)))
    stacks = [model.stack(turns[start : start + batch]) for start in range(0, len(turns), batch)]
    random.Random(0).shuffle(stacks)
    return stacks


def _microseconds(call: Callable[[], object], seconds: float) -> float:
    for _ in range(10):
        call()
    calls = 0
    start = time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(10):
            call()
        calls += 10
    return (time.process_time() - start) / calls * 1e6


def main() -> None:
    """Measure on the prepared bodies in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("version_folder", type=Path)
    parser.add_argument("bodies_folder", type=Path)
    parser.add_argument("--batches", nargs="+", type=int, default=[1], help="how many requests in a run (1)")
    options = parser.parse_args()
    bodies = [path.read_bytes() for path in sorted(options.bodies_folder.iterdir())]
    model = KINDS[options.kind].open_model(options.version_folder)
    print(json.dumps(measure(model, bodies, options.batches)))


if __name__ == "__main__":
    main()
