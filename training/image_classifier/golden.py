"""Raw requests with the predictions that training computes for them, as the service must answer them."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from models.image import ImagePreprocessing, fit_image, read_pixels
from models.manifest import Golden, GoldenExample, GoldenRequest

TOLERANCE = 1e-3
DEFAULT_TOP = 5
MORE = 10
SINGLE_REQUESTS = 6
IMAGES_IN_ONE_REQUEST = 3

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Sample:
    """An encoded image and the probabilities of its classes."""

    encoded: bytes
    probabilities: Floats


def golden_examples(
    path: Path, labels: Sequence[str], preprocessing: ImagePreprocessing, images: Sequence[bytes]
) -> Golden:
    """Make the golden examples of an image classifier from its exported graph.

    Of ``images``, those go into requests on which the ranking of the labels is clearest, over all
    predicted labels: providers differ in the last bits, and no ranking may hang on those. There are
    requests of one image at its own size, one of an enlarged picture that has to be cropped and
    resized, one with several images in JSON, and one that asks for more labels than the default.

    Args:
        path: the exported graph.
        labels: the classes' names, in the graph's order.
        preprocessing: as it stands in the manifest.
        images: encoded test images, lossless (PNG), so that every decoder reads the same pixels. 256 give
            a good choice; one is enough.

    Raises:
        PIL.UnidentifiedImageError: one of ``images`` is no image.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def classify(encoded: Sequence[bytes]) -> list[_Sample]:
        pixels = np.stack([fit_image(_decode(image), preprocessing) for image in encoded])
        (probabilities,) = session.run(None, {session.get_inputs()[0].name: pixels})
        return [_Sample(*sample) for sample in zip(encoded, probabilities, strict=True)]

    candidates = _clearest(classify(images))
    enlarged = _clearest(classify([_enlarge(sample.encoded, preprocessing) for sample in candidates[:SINGLE_REQUESTS]]))
    several = candidates[SINGLE_REQUESTS:][:IMAGES_IN_ONE_REQUEST] or candidates[:IMAGES_IN_ONE_REQUEST]
    requests = [
        *(([sample], {}) for sample in candidates[:SINGLE_REQUESTS]),
        (candidates[:1], {"top_k": str(min(MORE, len(labels)))}),
        (several, {"top_k": "2"}),
        (enlarged[:1], {}),
    ]
    return Golden(
        tolerance=TOLERANCE,
        examples=tuple(_example(samples, labels, query) for samples, query in requests),
    )


def _example(samples: Sequence[_Sample], labels: Sequence[str], query: Mapping[str, str]) -> GoldenExample:
    top = int(query.get("top_k", min(DEFAULT_TOP, len(labels))))
    if len(samples) == 1:
        body, content_type = samples[0].encoded, _content_type(samples[0].encoded)
    else:
        images = [base64.b64encode(sample.encoded).decode("ascii") for sample in samples]
        body, content_type = json.dumps({"images": images}).encode(), "application/json"
    request = GoldenRequest(content_type=content_type, query=query, body=base64.b64encode(body).decode("ascii"))
    return GoldenExample(
        request=request,
        predictions=tuple(_prediction(sample.probabilities, labels, top) for sample in samples),
    )


def _prediction(probabilities: Floats, labels: Sequence[str], top: int) -> JsonValue:
    order = np.argsort(-probabilities, kind="stable")[:top]
    ranked: list[JsonValue] = [{"label": labels[index], "probability": float(probabilities[index])} for index in order]
    best = order[0]
    return {"label": labels[best], "probability": float(probabilities[best]), "top": ranked}


def _clearest(samples: Sequence[_Sample]) -> list[_Sample]:
    """The samples, clearest ranking first, one of each predicted label before a second of any."""
    ordered = sorted(samples, key=lambda sample: -_clarity(sample.probabilities))
    seen: dict[int, int] = {}
    turns: list[int] = []
    for sample in ordered:
        label = int(sample.probabilities.argmax())
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    return [ordered[place] for place in np.argsort(turns, kind="stable")]


def _clarity(probabilities: Floats) -> float:
    """The smallest distance of two neighbours in the ranking that a request asks for, in log-probability."""
    ranked = np.sort(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))[::-1]
    return -float(np.diff(ranked[: MORE + 1]).max(initial=-np.inf))


def _enlarge(encoded: bytes, preprocessing: ImagePreprocessing) -> bytes:
    """A PNG of the picture as a camera might have taken it: several times larger, and wider than the net's input."""
    size = (round(4.7 * preprocessing.width), round(3.1 * preprocessing.height))
    picture = Image.fromarray(_decode(encoded)).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _decode(encoded: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded)) as picture:
        return read_pixels(picture)


def _content_type(encoded: bytes) -> str:
    with Image.open(io.BytesIO(encoded)) as picture:
        return picture.get_format_mimetype() or "application/octet-stream"
