"""The model of sentiment as every peer uses it: texts in, the likeliest label of each out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.servers.session import open_session
from models.manifest import load_manifest
from models.text import Reading, TextPreprocessing, TextReader, TokenIds, load_tokenizer


class SentimentModel:
    """A model that says what is thought in a text."""

    def __init__(self, folder: Path) -> None:
        """Load the version in ``folder``."""
        manifest = load_manifest(folder)
        assert isinstance(manifest.preprocessing, TextPreprocessing)
        self.session = open_session(folder)
        self.reader = TextReader(load_tokenizer(folder), manifest.preprocessing)
        self.padding_id = manifest.preprocessing.padding_id
        self.labels = manifest.labels

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Texts -> their tokens."""
        return [self.reader.read(text) for text in texts]

    def pad(self, readings: Sequence[Reading]) -> TokenIds:
        """The tokens of each text -> the graph's input, (texts, tokens of the longest)."""
        token_ids = np.full((len(readings), max(len(reading.ids) for reading in readings)), self.padding_id, np.int32)
        for row, reading in zip(token_ids, readings, strict=True):
            row[: len(reading.ids)] = reading.ids
        return token_ids

    def infer(self, token_ids: TokenIds) -> NDArray[np.float32]:
        """(texts, tokens) -> (texts, labels)."""
        probabilities: NDArray[np.float32] = self.session.run(["probabilities"], {"token_ids": token_ids})[0]
        return probabilities

    def answer(self, readings: Sequence[Reading], probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Texts and their probabilities, (texts, labels) -> the predictions."""
        predictions = []
        for reading, row in zip(readings, probabilities.tolist(), strict=True):
            label, probability = max(zip(self.labels, row, strict=True), key=lambda pair: pair[1])
            predictions.append(
                {
                    "label": label,
                    "probability": probability,
                    "probabilities": dict(zip(self.labels, row, strict=True)),
                    "tokens": reading.tokens,
                    "truncated": reading.truncated,
                }
            )
        return predictions

    def analyze(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Texts -> the predictions."""
        readings = self.read(texts)
        return self.answer(readings, self.infer(self.pad(readings)))

    def decode(self, body: bytes) -> list[Reading]:
        """A request -> its texts' tokens."""
        return self.read(orjson.loads(body)["texts"])

    def stack(self, contents: Sequence[list[Reading]]) -> TokenIds:
        """The texts of several requests as one input."""
        return self.pad([reading for readings in contents for reading in readings])

    def encode(self, content: list[Reading], probabilities: NDArray[np.float32]) -> bytes:
        """A request's texts and their probabilities -> the answer."""
        return orjson.dumps({"predictions": self.answer(content, probabilities)})
