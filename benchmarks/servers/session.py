"""What the peers' models have in common: a session of ONNX Runtime with one thread, since every server has one core."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import onnxruntime

FOLDER_VARIABLE = "BENCHMARK_MODEL"


class Steps(Protocol):
    """The parts of an answer, for the limit: each by the fastest library there is."""

    def decode(self, body: bytes) -> Any:
        """A body -> what it holds."""

    def stack(self, contents: Sequence[Any]) -> Any:
        """What several bodies hold -> the graph's inputs."""

    def infer(self, inputs: Any) -> Any:
        """The graph's inputs -> its outputs."""

    def encode(self, content: Any, outputs: Any) -> bytes:
        """What one body holds and the outputs for it alone -> the answer."""


def open_session(folder: Path) -> onnxruntime.InferenceSession:
    """The graph of a version."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


def served_folder() -> Path:
    """The version that the benchmark names in a server's environment."""
    return Path(os.environ[FOLDER_VARIABLE])
