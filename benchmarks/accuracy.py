"""Sends random test images to a running service and sets its accuracy beside the one in the model's manifest.

    python -m benchmarks.accuracy --url http://127.0.0.1:3000 --data .cache/cifar10/test

``--data`` is a folder of pictures by class, ``DIR/<class>/*``. Every picture is sent as PNG, each connection waiting
for its answer. Ends with status 1 if a request fails.
"""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.images import encode_png, sample_files

KIND = "image_classifier"


@dataclass
class Tally:
    """What came of the requests."""

    right: int = 0
    wrong: int = 0
    failed: int = 0

    @property
    def accuracy(self) -> float:
        """The share of right answers among all requests."""
        return self.right / (self.right + self.wrong + self.failed)


async def measure(url: str, files: Sequence[Path], connections: int) -> Tally:
    """Send each file to ``/classify`` over ``connections`` connections; the name of its folder is the right label."""
    images = iter([(path, encode_png(path)) for path in files])
    tally = Tally()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(_send(client, images, tally) for _ in range(connections)))
    return tally


async def _send(client: httpx.AsyncClient, images: Iterator[tuple[Path, bytes]], tally: Tally) -> None:
    """Take images off the common iterator until it is empty."""
    for path, image in images:
        response = await client.post("/classify", content=image, headers={"Content-Type": "image/png"})
        if response.status_code != 200:
            tally.failed += 1
            print(f"{path}: status {response.status_code}: {response.text}", file=sys.stderr)
        elif response.json()["predictions"][0]["label"] == path.parent.name:
            tally.right += 1
        else:
            tally.wrong += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="the running service (http://127.0.0.1:3000)")
    parser.add_argument("--data", type=Path, default=Path(".cache/cifar10/test"), help="pictures by class")
    parser.add_argument("--count", type=int, default=2000, help="how many pictures (2000)")
    parser.add_argument("--seed", type=int, default=0, help="which pictures (0)")
    parser.add_argument("--connections", type=int, default=16, help="how many at a time (16)")
    options = parser.parse_args(arguments)

    manifest = httpx.get(f"{options.url}/models/{KIND}").raise_for_status().json()
    files = sample_files(options.data, options.count, options.seed)
    start = time.perf_counter()
    tally = asyncio.run(measure(options.url, files, options.connections))
    seconds = time.perf_counter() - start
    deviation = math.sqrt(tally.accuracy * (1 - tally.accuracy) / len(files))
    print(
        f"{tally.right} of {len(files)} right, {tally.failed} failed, in {seconds:.1f} s: "
        f"accuracy {tally.accuracy:.4f} (sampling deviation {deviation:.4f}); "
        f"the manifest of version {manifest['version']} says {manifest['metrics']['accuracy']:.4f}"
    )
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
