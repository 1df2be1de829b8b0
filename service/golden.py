"""Golden examples: raw requests whose answers training has computed. Replaying them proves that both halves agree."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from models.errors import ArtifactError
from models.manifest import GOLDEN_FILE, Golden, GoldenExample, Manifest
from service.bodies import Body, media_type
from service.config import Settings
from service.errors import RequestError
from service.kinds import Kind
from service.queries import read_query
from service.session import Session


def replay_golden(folder: Path, golden: Golden, kind: Kind, manifest: Manifest, session: Session) -> None:
    """Send every golden example of a version through parsing, preprocessing, the session and postprocessing.

    Raises:
        ArtifactError: an answer is not the expected one.
    """
    for index, example in enumerate(golden.examples):
        where = f"{folder / GOLDEN_FILE}: examples[{index}]"
        try:
            predictions = _answer(kind, manifest, session, example)
        except (RequestError, binascii.Error) as error:
            raise ArtifactError(f"{where}: request: the service refuses it: {error}") from error
        found = _find_difference("predictions", predictions, list(example.predictions), golden.tolerance)
        if found is not None:
            raise ArtifactError(f"{where}: {found}")


def _answer(kind: Kind, manifest: Manifest, session: Session, example: GoldenExample) -> list[dict[str, object]]:
    content_type = example.request.content_type.encode()
    body = Body(media_type(content_type), content_type, base64.b64decode(example.request.body, validate=True))
    query = read_query(kind.Query, urlencode(example.request.query).encode())
    # The limits that are set here and now are none of the model's business, so the defaults hold.
    settings = Settings.model_construct()
    rows = list(kind.preprocess(kind.parse(body, settings), query, manifest, settings))
    predictions = []
    for start in range(0, len(rows), session.max_rows):
        outputs = session.run(rows[start : start + session.max_rows])
        predictions += [kind.postprocess(row, query, manifest) for row in outputs]
    return predictions


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
