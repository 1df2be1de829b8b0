"""Profiles from the exported graph: what a seed gives, and what a row of the graph's outputs says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import JsonValue

from models.columns import TablePreprocessing, write_number, write_text
from training.noise import draw_chances, draw_noise

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Texts = NDArray[np.object_]

BATCH = 1000


def draw_targets(seed: int, rows: int, share: float) -> Integers:
    """Targets (rows,), 1 with the probability ``share``."""
    return (draw_chances(seed, rows) < share).astype(np.int64)


class Sampler:
    """The exported graph in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, preprocessing: TablePreprocessing) -> None:
        self.preprocessing = preprocessing
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.noise: int = self.session.get_inputs()[0].shape[1]

    def run(self, z: Floats, targets: Integers, batch_size: int = BATCH) -> tuple[Floats, Texts]:
        """(rows, noise), (rows,) -> (rows, numeric columns), (rows, text columns)."""
        numbers = [np.empty((0, len(self.preprocessing.numeric_columns)), np.float32)]
        texts = [np.empty((0, len(self.preprocessing.text_columns)), np.object_)]
        names = [output.name for output in self.session.get_outputs()]
        for start in range(0, len(z), batch_size):
            noise = z[start : start + batch_size]
            answers = self.session.run(names, {"z": noise, "target": targets[start : start + batch_size]})
            found, rows = dict(zip(names, answers, strict=True)), len(noise)
            numbers.append(found.get("numbers", np.empty((rows, 0), np.float32)))
            texts.append(found.get("texts", np.empty((rows, 0), np.object_)))
        return np.concatenate(numbers), np.concatenate(texts)

    def sample(self, seed: int, rows: int) -> tuple[Floats, Texts, Integers]:
        """As a request for ``rows`` profiles with ``seed`` and any target: numbers, texts, targets."""
        targets = draw_targets(seed, rows, self.preprocessing.target_shares[1])
        return *self.run(draw_noise(seed, rows, self.noise), targets), targets


def write_profiles(
    preprocessing: TablePreprocessing, numbers: Floats, texts: Texts, targets: Integers
) -> list[JsonValue]:
    """Rows as a client sees them: an object each, with the columns of the table and then the target."""
    profiles: list[JsonValue] = []
    for row_numbers, row_texts, target in zip(numbers.tolist(), texts.tolist(), targets.tolist(), strict=True):
        left_numbers, left_texts = iter(row_numbers), iter(row_texts)
        profile: dict[str, JsonValue] = {
            column.name: write_number(column, next(left_numbers)) if column.is_numeric else write_text(next(left_texts))
            for column in preprocessing.columns
        }
        profile[preprocessing.target.name] = write_text(preprocessing.target.categories[target])
        profiles.append(profile)
    return profiles


def order_columns(
    preprocessing: TablePreprocessing, numbers: NDArray[np.floating[Any]], texts: Texts
) -> Sequence[NDArray[Any]]:
    """The columns (rows,) in the order of the table, from (rows, numeric columns) and (rows, text columns)."""
    left_numbers, left_texts = iter(numbers.T), iter(texts.T)
    return [next(left_numbers) if column.is_numeric else next(left_texts) for column in preprocessing.columns]
