"""Sends random test examples to a running service and sets its accuracy beside the one in the model's manifest.

    python -m benchmarks.accuracy --url http://127.0.0.1:3000 --data .cache/cifar10/test
    python -m benchmarks.accuracy --kind sentiment --data aclImdb_v1.tar.gz

``--data`` is for pictures a folder by class, ``DIR/<class>/*``, and for sentiment IMDB's archive or the folder
``aclImdb`` that it unpacks to. Every picture is sent as PNG and every review as JSON, one a request, each connection
waiting for its answer. Ends with status 1 if a request fails.
"""

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from benchmarks.images import encode_png, sample_files
from benchmarks.reviews import sample_reviews


class Example(NamedTuple):
    """A request's body, and the label that its answer should have."""

    name: str
    label: str
    body: bytes


class Kind(NamedTuple):
    """What is sent where: ``sample`` draws so many examples from the data by a seed."""

    route: str
    content_type: str
    data: Path
    sample: Callable[[Path, int, int], list[Example]]


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


def sample_images(data: Path, count: int, seed: int) -> list[Example]:
    """Pictures; the name of the folder is the label."""
    return [Example(str(path), path.parent.name, encode_png(path)) for path in sample_files(data, count, seed)]


def sample_texts(data: Path, count: int, seed: int) -> list[Example]:
    """Reviews."""
    reviews = sample_reviews(data, count, seed)
    return [Example(review.name, review.label, json.dumps({"texts": [review.text]}).encode()) for review in reviews]


KINDS: Final[Mapping[str, Kind]] = {
    "image_classifier": Kind("/classify", "image/png", Path(".cache/cifar10/test"), sample_images),
    "sentiment": Kind("/analyze-sentiment", "application/json", Path(".cache/aclImdb"), sample_texts),
}


async def measure(url: str, kind: Kind, examples: Sequence[Example], connections: int) -> Tally:
    """Send each example over ``connections`` connections, and compare the answers' labels."""
    turns = iter(examples)
    tally = Tally()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(_send(client, kind, turns, tally) for _ in range(connections)))
    return tally


async def _send(client: httpx.AsyncClient, kind: Kind, examples: Iterator[Example], tally: Tally) -> None:
    """Take examples off the common iterator until it is empty."""
    for example in examples:
        response = await client.post(kind.route, content=example.body, headers={"Content-Type": kind.content_type})
        if response.status_code != 200:
            tally.failed += 1
            print(f"{example.name}: status {response.status_code}: {response.text}", file=sys.stderr)
        elif response.json()["predictions"][0]["label"] == example.label:
            tally.right += 1
        else:
            tally.wrong += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="image_classifier", help="which model (image_classifier)")
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="the running service (http://127.0.0.1:3000)")
    places = ", ".join(str(kind.data) for kind in KINDS.values())
    parser.add_argument("--data", type=Path, help=f"the examples ({places})")
    parser.add_argument("--count", type=int, default=2000, help="how many examples (2000)")
    parser.add_argument("--seed", type=int, default=0, help="which examples (0)")
    parser.add_argument("--connections", type=int, default=16, help="how many at a time (16)")
    options = parser.parse_args(arguments)

    kind = KINDS[options.kind]
    manifest = httpx.get(f"{options.url}/models/{options.kind}").raise_for_status().json()
    examples = kind.sample(options.data or kind.data, options.count, options.seed)
    _check_labels(examples, manifest["labels"])
    start = time.perf_counter()
    tally = asyncio.run(measure(options.url, kind, examples, options.connections))
    seconds = time.perf_counter() - start
    deviation = math.sqrt(tally.accuracy * (1 - tally.accuracy) / len(examples))
    print(
        f"{tally.right} of {len(examples)} right, {tally.failed} failed, in {seconds:.1f} s: "
        f"accuracy {tally.accuracy:.4f} (sampling deviation {deviation:.4f}); "
        f"the manifest of version {manifest['version']} says {manifest['metrics']['accuracy']:.4f}"
    )
    sys.exit(1 if tally.failed else 0)


def _check_labels(examples: Sequence[Example], labels: Sequence[str]) -> None:
    for example in examples:
        if example.label not in labels:
            raise ValueError(f"{example.name}: is '{example.label}', which is none of the model's labels: {labels}")


if __name__ == "__main__":
    main()
