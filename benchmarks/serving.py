"""Measures the service beside its peers and the floor: the same model, images and core for all, in one run.

    python -m benchmarks.serving                              every server, the shipped model
    python -m benchmarks.serving --models runs/cnn/models     another folder of models
    python -m benchmarks.serving --only modelyard fastapi --seconds 3 --rounds 1

Starts the servers one after the other, pinned to one core, with the load generator (wrk) on another. Each round
measures every server once, in an order that shifts by one; the table has medians over the rounds. Before it is
measured, a server must give the model's own answer for every image. Needs Linux, two cores and wrk.
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

from benchmarks.bodies import write_bodies
from benchmarks.contenders import CONTENDERS
from benchmarks.images import decode, encode_png, golden_images, sample_files
from benchmarks.load import require_wrk
from benchmarks.measurement import ROOT, Bench, Sample
from benchmarks.servers.model import Model
from benchmarks.table import format_table
from models.repository import Repository

KIND = "image_classifier"


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
    version_folder = repository.folder(KIND, repository.newest(KIND))
    if options.images is None:
        images = golden_images(version_folder)
    else:
        images = [encode_png(path) for path in sample_files(options.images, 256, seed=0)]
    model = Model(version_folder)
    height, width = model.size[1], model.size[0]
    images = [image for image in images if decode(image).shape[:2] == (height, width)]
    if not images:
        raise RuntimeError(f"no image of {width}x{height} pixels, the size that {version_folder} reads")
    labels = [model.classify(decode(image))["predictions"][0]["label"] for image in images]
    write_bodies(workspace, images)
    return Bench(models, version_folder, images, labels, workspace, cores[0], cores[1])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of models (models/)")
    parser.add_argument("--images", type=Path, help="folder of pictures (the model's golden requests)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64], metavar="N")
    parser.add_argument("--seconds", type=int, default=8, help="length of one load (8)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured (3)")
    parser.add_argument("--output", type=Path, help="JSON file for every sample")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    require_wrk()
    contenders = [contender for contender in CONTENDERS if contender.name in options.only]
    samples: list[Sample] = []
    limits: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="modelyard-benchmark-") as workspace:
        bench = _prepare(options, Path(workspace))
        for round_ in range(options.rounds):
            limits.append(bench.measure_limit())
            for index in range(len(contenders)):
                contender = contenders[(index + round_) % len(contenders)]
                print(f"round {round_ + 1} of {options.rounds}: {contender.title}", file=sys.stderr)
                samples += bench.measure(contender, round_, options.connections, options.seconds)
    costs = {step: median(limit[step] for limit in limits) for step in limits[0]}
    print(f"{_hardware()}; {len(bench.images)} images; medians over {options.rounds} rounds of {options.seconds} s\n")
    print(format_table(samples, costs, options.connections))
    if options.output is not None:
        content = {"hardware": _hardware(), "limit_us": costs, "samples": [asdict(sample) for sample in samples]}
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
