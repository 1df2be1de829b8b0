"""Measures the service beside its peers and the floor: the same model, requests and core for all, in one run.

    python -m benchmarks.serving                                  the shipped image classifier
    python -m benchmarks.serving --kind churn                     another kind: one table for each size of request
    python -m benchmarks.serving --models runs/cnn/models --images .cache/cifar10/test
    python -m benchmarks.serving --only modelyard fastapi --connections 16 --seconds 3 --rounds 1

Starts the servers one after the other, pinned to one core, with the load generator (wrk) on another. Each round
measures every server once, in an order that shifts by one; the table has medians over the rounds. Before it is
measured, a server must give the model's own answer to every request. Needs Linux, two cores and wrk. A whole run takes
about ten minutes, of sentiment fifteen.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.load import require_wrk
from benchmarks.measurement import ROOT, Bench, Sample
from benchmarks.table import format_table
from benchmarks.workloads import KINDS
from models.repository import Repository


def _hardware() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _prepare(options: argparse.Namespace, workspace: Path) -> Bench:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError(f"{len(cores)} core: the servers and the load generator need one each")
    models = options.models.resolve()
    repository = Repository(models)
    version_folder = repository.folder(options.kind, repository.newest(options.kind))
    workloads = KINDS[options.kind].make_workloads(version_folder, options.images)
    return Bench(options.kind, models, version_folder, workloads, workspace, cores[0], cores[1])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = sorted({contender.name for kind in KINDS.values() for contender in kind.CONTENDERS})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="image_classifier", help="what is served (image_classifier)")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models (models/)")
    parser.add_argument("--images", type=Path, help="folder of pictures (the model's golden requests)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--connections", type=_read_numbers, default=[1, 16, 64], help="at a time (1,16,64)")
    parser.add_argument("--seconds", type=int, default=6, help="length of one load (6)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured (3)")
    parser.add_argument("--output", type=Path, help="JSON file for every sample")
    return parser.parse_args(arguments)


def _read_numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    require_wrk()
    contenders = [contender for contender in KINDS[options.kind].CONTENDERS if contender.name in options.only]
    samples: list[Sample] = []
    limits: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="modelyard-benchmark-") as workspace:
        bench = _prepare(options, Path(workspace))
        for round_ in range(options.rounds):
            for workload in bench.workloads:
                limits.setdefault(workload.name, []).append(bench.measure_limit(workload))
            for index in range(len(contenders)):
                contender = contenders[(index + round_) % len(contenders)]
                print(f"round {round_ + 1} of {options.rounds}: {contender.title}", file=sys.stderr)
                samples += bench.measure(contender, round_, options.connections, options.seconds)
    costs = {
        name: {step: median(limit[step] for limit in rounds) for step in rounds[0]} for name, rounds in limits.items()
    }
    print(f"{_hardware()}; {options.kind}; medians over {options.rounds} rounds of {options.seconds} s")
    for workload in bench.workloads:
        of_workload = [sample for sample in samples if sample.workload == workload.name]
        table = format_table(contenders, of_workload, costs[workload.name], options.connections)
        print(f"\n{workload.name} a request:\n\n{table}")
    if options.output is not None:
        content = {"hardware": _hardware(), "limit_us": costs, "samples": [asdict(sample) for sample in samples]}
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
