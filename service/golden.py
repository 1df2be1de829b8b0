"""Golden examples: raw requests whose answers training has computed. Replaying them proves that both halves agree."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
import orjson

from models.errors import ArtifactError
from models.manifest import GOLDEN_FILE, Golden, GoldenExample, Manifest
from service.bodies import Body, media_type
from service.config import Settings
from service.errors import RequestError
from service.items import Item
from service.kinds import GeneratingKind, Kind
from service.queries import read_query
from service.session import Row, Session


class Replay(NamedTuple):
    """What a golden example came to: its items and the predictions for them."""

    items: list[Item]
    predictions: list[dict[str, Any]]


class Example(NamedTuple):
    """A request and its answers, as the service's description shows them."""

    request: object  # None where it is no JSON
    answers: Mapping[str, object]  # by media type


def replay_golden(folder: Path, golden: Golden, kind: Kind, assets: Any, session: Session) -> list[Replay]:
    """Send every golden example of a version through parsing, preprocessing, the session and postprocessing.

    Raises:
        ArtifactError: an answer is not the expected one.
    """
    replays = []
    for index, example in enumerate(golden.examples):
        where = f"{folder / GOLDEN_FILE}: examples[{index}]"
        try:
            replay = _answer(kind, assets, session, example)
        except (RequestError, binascii.Error) as error:
            raise ArtifactError(f"{where}: request: the service refuses it: {error}") from error
        predictions = [_list_levels(prediction) for prediction in replay.predictions]
        found = _find_difference("predictions", predictions, list(example.predictions), golden.tolerance)
        if found is not None:
            raise ArtifactError(f"{where}: {found}")
        replays.append(replay)
    return replays


def make_example(
    kind: Kind, manifest: Manifest, assets: Any, example: GoldenExample, predictions: list[dict[str, Any]]
) -> Example:
    """What a golden example and the predictions for it show of the service."""
    body = _read_body(example)
    request = orjson.loads(body.content) if body.media_type == "application/json" else None
    if not isinstance(kind, GeneratingKind):
        answer = {"model": manifest.kind, "version": str(manifest.version), "predictions": predictions}
        return Example(request, {"application/json": answer})
    content = kind.parse(body, Settings.model_construct())
    answers: dict[str, object] = {}
    for name, make_encoder in kind.ENCODERS.items():
        encoder = make_encoder(content, assets)
        encoded = encoder.begin() + encoder.feed(predictions) + encoder.finish()
        # A description is text: there is no place in it for the bytes of a picture.
        if name == "application/json":
            answers[name] = orjson.loads(encoded)
        elif name.startswith("text/"):
            answers[name] = encoded.decode()
    return Example(request, answers)


def _read_body(example: GoldenExample) -> Body:
    content_type = example.request.content_type.encode()
    return Body(media_type(content_type), content_type, base64.b64decode(example.request.body, validate=True))


def _answer(kind: Kind, assets: Any, session: Session, example: GoldenExample) -> Replay:
    query = read_query(kind.Query, urlencode(example.request.query).encode())
    # The limits that are set here and now are none of the model's business, so the defaults hold.
    settings = Settings.model_construct()
    items = list(kind.preprocess(kind.parse(_read_body(example), settings), query, assets, settings))
    rows: list[Row] = []
    for start in range(0, len(items), session.max_rows):
        rows += session.run([item.row for item in items[start : start + session.max_rows]])
    predictions = [kind.postprocess(row, item.facts, query, assets) for row, item in zip(rows, items, strict=True)]
    return Replay(items, predictions)


def _list_levels(prediction: Mapping[str, Any]) -> dict[str, object]:
    """A prediction in which pixels are lists of numbers from 0 to 1, as they are in golden examples."""
    return {
        name: (value / 255).tolist() if isinstance(value, np.ndarray) else value for name, value in prediction.items()
    }


def _find_difference(where: str, found: object, expected: object, tolerance: float) -> str | None:
    """The first place where ``found`` is not ``expected``: numbers may differ by ``tolerance``, nothing else may."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping) and found.keys() == expected.keys():
        pairs = [(f"{where}.{key}", found[key], expected[key]) for key in expected]
    elif _is_list(found) and _is_list(expected) and len(found) == len(expected):  # type: ignore[arg-type]
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(found, expected, strict=True))]  # type: ignore[call-overload]
    elif _is_number(found) and _is_number(expected):
        near = abs(found - expected) <= tolerance  # type: ignore[operator]
        return None if near else f"{where}: {found}, expected {expected} within {tolerance}"
    else:
        return None if found == expected else f"{where}: {found}, expected {expected}"
    differences = (_find_difference(*pair, tolerance) for pair in pairs)
    return next((difference for difference in differences if difference is not None), None)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
