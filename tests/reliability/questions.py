"""Requests of every kind that the service has, drawn by a seed, and how far an answer is from another."""

import base64
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from models.columns import Column, TablePreprocessing
from models.manifest import Manifest
from service.kinds import KINDS
from tests.text_versions import WORDS
from tests.versions import encode

JSON: Final = {"content-type": "application/json"}
_MOST_ITEMS: Final = 8
_EPOCH: Final = date(1970, 1, 1)
_SIZES: Final = ((8, 8), (32, 32), (40, 24), (200, 150))
_FORMATS: Final = ("PNG", "BMP", "GIF", "JPEG", "WEBP")


class Question(NamedTuple):
    """A request, and what a client that goes wrong would send in its place."""

    kind: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    broken_body: bytes


Ask = Callable[[random.Random, Manifest], Question]


def ask_for_classes(generator: random.Random, manifest: Manifest) -> Question:
    """One picture as the body, or several in JSON: noise around a colour, in any format."""
    pictures = [_draw_picture(generator) for _ in range(_draw_count(generator))]
    path = f"{KINDS['image_classifier'].ROUTE}?top_k={generator.randint(1, len(manifest.labels))}"
    if len(pictures) == 1:
        picture = pictures[0]
        return Question("image_classifier", path, {"content-type": "image/png"}, picture, picture[: len(picture) // 3])
    images = [base64.b64encode(picture).decode() for picture in pictures]
    body = json.dumps({"images": images}).encode()
    broken = json.dumps({"images": [*images[1:], images[0][:40]]}).encode()
    return Question("image_classifier", path, JSON, body, broken)


def ask_for_sentiment(generator: random.Random, _: Manifest) -> Question:
    """Texts of one word to 150; a short one may be asked to be explained."""
    count = _draw_count(generator)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(1, 150))) for _ in range(count)]
    content: dict[str, Any] = {"texts": texts}
    if generator.random() < 0.05:
        content = {"texts": [texts[0][:40]], "explain": True}
    return _ask_in_json("sentiment", content, {"texts": [*texts, None]})


def ask_for_churn(generator: random.Random, manifest: Manifest) -> Question:
    """Customers of the model's columns; one may be asked to be explained."""
    table = manifest.preprocessing
    assert isinstance(table, TablePreprocessing)
    customers = []
    for _ in range(_draw_count(generator)):
        customer = {column.name: _draw_value(generator, column) for column in table.columns}
        if table.identifier is not None:
            customer[table.identifier] = f"c-{generator.getrandbits(40)}"
        customers.append(customer)
    content: dict[str, Any] = {"customers": customers}
    if generator.random() < 0.05:
        content = {"customers": customers[:1], "explain": True}
    return _ask_in_json("churn", content, {"customers": [*customers, {}]})


def ask_for_profiles(generator: random.Random, manifest: Manifest) -> Question:
    """Profiles of a seed, as JSON or CSV: up to three parts of an answer, or a way between two seeds."""
    content: dict[str, Any] = {"churn": generator.choice([None, *manifest.labels])}
    if generator.random() < 0.2:
        ends = {name: generator.getrandbits(53) for name in ("from_seed", "to_seed")}
        content["interpolate"] = {**ends, "steps": generator.randint(2, 20)}
    else:
        content |= {"seed": generator.getrandbits(53), "count": generator.choice([1, 2, 10, 70, 150])}
    accept = {"accept": generator.choice(["application/json", "text/csv"])}
    return _ask_in_json("profile_generator", content, {**content, "seed": -1}, accept)


def ask_for_images(generator: random.Random, manifest: Manifest) -> Question:
    """Images of a seed, as files or as a grid, or on a way between two seeds."""
    content: dict[str, Any] = {
        "label": generator.choice([None, *manifest.labels]),
        "truncation": generator.choice([0.5, 1.0]),
    }
    if generator.random() < 0.2:
        ends = {name: generator.getrandbits(53) for name in ("from_seed", "to_seed")}
        content["interpolate"] = {**ends, "steps": generator.randint(2, 20)}
    else:
        content |= {"seed": generator.getrandbits(53), "count": generator.choice([1, 2, 10, 70])}
    accept = {"accept": generator.choice(["application/json", "image/png"])}
    return _ask_in_json("image_generator", content, {**content, "seed": -1}, accept)


# One line for each kind.
QUESTIONS: Final[Mapping[str, Ask]] = {
    "churn": ask_for_churn,
    "image_classifier": ask_for_classes,
    "image_generator": ask_for_images,
    "profile_generator": ask_for_profiles,
    "sentiment": ask_for_sentiment,
}


def measure_difference(left: bytes, right: bytes) -> float:
    """The largest difference of two answers' numbers; infinite where anything else in them differs."""
    if left == right:
        return 0.0
    try:
        return _compare(json.loads(left), json.loads(right))
    except ValueError:
        return math.inf


def _compare(left: Any, right: Any) -> float:
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right)
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return max((_compare(value, right[name]) for name, value in left.items()), default=0.0)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return max(map(_compare, left, right), default=0.0)
    return 0.0 if left == right else math.inf


def _ask_in_json(
    kind: str, content: Mapping[str, Any], broken: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Question:
    bodies = (json.dumps(content).encode(), json.dumps(broken).encode())
    return Question(kind, KINDS[kind].ROUTE, {**JSON, **(headers or {})}, *bodies)


def _draw_count(generator: random.Random) -> int:
    """One item, as mostly, or some."""
    return 1 if generator.random() < 0.6 else generator.randint(2, _MOST_ITEMS)


def _draw_picture(generator: random.Random) -> bytes:
    width, height = generator.choice(_SIZES)
    noise = np.random.default_rng(generator.getrandbits(64))
    colour = noise.integers(0, 256, 3)
    pixels = np.clip(colour + noise.normal(0, 40, (height, width, 3)), 0, 255).astype(np.uint8)
    return encode(Image.fromarray(pixels), generator.choice(_FORMATS))


def _draw_value(generator: random.Random, column: Column) -> object:
    if column.has_missing and generator.random() < 0.1:
        return None
    if column.categories:
        return generator.choice(column.categories)
    value = generator.uniform(column.minimum or 0, column.maximum or 1)
    if column.type == "date":
        return str(_EPOCH + timedelta(days=round(value)))
    return round(value, column.decimals) if column.decimals else round(value)


def share_of_pairs_told_apart(answers: Sequence[bytes], tolerance: float, seed: int) -> float:
    """How many of 2,000 pairs of different answers, drawn by ``seed``, are further apart than ``tolerance``."""
    generator = random.Random(seed)
    pairs = [generator.sample(answers, 2) for _ in range(2000)]
    return sum(measure_difference(*pair) > tolerance for pair in pairs) / len(pairs)
