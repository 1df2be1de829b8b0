"""The generator of profiles as every peer uses it: a count and a seed in, customers as JSON objects out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.servers.session import open_session
from models.columns import TablePreprocessing
from models.manifest import load_manifest

Inputs = dict[str, NDArray[Any]]
Outputs = tuple[NDArray[np.float32], NDArray[np.object_]]


class ProfileModel:
    """A generator of customers."""

    def __init__(self, folder: Path) -> None:
        """Load the version in ``folder``."""
        manifest = load_manifest(folder)
        table = manifest.preprocessing
        assert isinstance(table, TablePreprocessing)
        self.session = open_session(folder)
        self.noise = int(manifest.inputs[0].shape[1])
        self.table = table

    def draw(self, count: int, seed: int) -> Inputs:
        """The noise, (count, noise), and the targets, (count,)."""
        random = np.random.default_rng(seed)
        z = random.standard_normal((count, self.noise), dtype=np.float32)
        return {"z": z, "target": (random.random(count) < self.table.target_shares[1]).astype(np.int64)}

    def infer(self, inputs: Inputs) -> Outputs:
        """The graph's inputs -> numbers (count, numeric columns) and texts (count, other columns)."""
        numbers, texts = self.session.run(["numbers", "texts"], inputs)
        return numbers, texts

    def answer(self, inputs: Inputs, outputs: Outputs) -> dict[str, Any]:
        """A request's inputs and outputs -> the answer's JSON."""
        numeric, others, target = self.table.numeric_columns, self.table.text_columns, self.table.target
        profiles = []
        for numbers, texts, choice in zip(
            outputs[0].tolist(), outputs[1].tolist(), inputs["target"].tolist(), strict=True
        ):
            profile: dict[str, Any] = {}
            for column, number in zip(numeric, numbers, strict=True):
                missing = number != number
                profile[column.name] = None if missing else round(number, column.decimals)
            for column, text in zip(others, texts, strict=True):
                profile[column.name] = text
            profile[target.name] = target.categories[choice]
            profiles.append(profile)
        return {"profiles": profiles}

    def generate(self, count: int, seed: int) -> dict[str, Any]:
        """What a request for ``count`` profiles is answered."""
        inputs = self.draw(count, seed)
        return self.answer(inputs, self.infer(inputs))

    def decode(self, body: bytes) -> Inputs:
        """A request -> the graph's inputs."""
        return self.draw(**orjson.loads(body))

    def stack(self, contents: Sequence[Inputs]) -> Inputs:
        """The inputs of several requests as one."""
        return {name: np.concatenate([inputs[name] for inputs in contents]) for name in ("z", "target")}

    def encode(self, content: Inputs, outputs: Outputs) -> bytes:
        """A request's inputs and outputs -> the answer."""
        return orjson.dumps(self.answer(content, outputs))
