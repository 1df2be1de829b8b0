"""Raw requests with the predictions that training computes for them, as the service must answer them."""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
from pydantic import JsonValue

from models.manifest import Golden, GoldenExample, GoldenRequest
from models.text import TextReader
from training.sentiment.graph import run_graph

TOLERANCE = 1e-4
# No label may hang on the last bits, in which providers differ.
MARGIN = 2 * TOLERANCE
PER_LABEL = 2
MAX_CHARACTERS = 4000
# What people write beside reviews: it has an answer too.
ODD_TEXTS = ("", "!!! ... ???", "👍👍👍 10/10", "<br /><br />", "Привет, 世界!")


def golden_examples(path: Path, labels: Sequence[str], reader: TextReader, texts: Sequence[str]) -> Golden:
    """Make the golden examples of a sentiment model from its exported graph.

    There is a request with one text, one with some that are told to be of each label, and one with odd ones.

    Args:
        path: the exported graph.
        labels: of the classes.
        reader: of the version.
        texts: where the texts are taken from.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(some: Sequence[str]) -> list[dict[str, JsonValue]]:
        readings = reader.read_all(some)
        probabilities = run_graph(session, [reading.ids for reading in readings]).astype(float)
        return [
            {
                "label": labels[int(row.argmax())],
                "probability": float(row.max()),
                "probabilities": {label: float(value) for label, value in zip(labels, row, strict=True)},
                "tokens": reading.tokens,
                "truncated": reading.truncated,
            }
            for row, reading in zip(probabilities, readings, strict=True)
        ]

    def example(some: Sequence[str], predictions: Sequence[dict[str, JsonValue]]) -> GoldenExample:
        return GoldenExample(request=GoldenRequest.from_json({"texts": some}), predictions=tuple(predictions))

    def is_clear(prediction: dict[str, JsonValue]) -> bool:
        ranked = sorted(prediction["probabilities"].values())  # type: ignore[union-attr]
        return bool(ranked[-1] - ranked[-2] > MARGIN)

    short = [text for text in texts if len(text) <= MAX_CHARACTERS]
    clear = [pair for pair in zip(short, predict(short), strict=True) if is_clear(pair[1])]
    chosen = [pair for label in labels for pair in [pair for pair in clear if pair[1]["label"] == label][:PER_LABEL]]
    odd = [pair for pair in zip(ODD_TEXTS, predict(ODD_TEXTS), strict=True) if is_clear(pair[1])]
    requests = [pairs for pairs in (chosen[:1], chosen, odd) if pairs]
    return Golden(
        tolerance=TOLERANCE,
        examples=tuple(
            example([text for text, _ in pairs], [prediction for _, prediction in pairs]) for pairs in requests
        ),
    )
