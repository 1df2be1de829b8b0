"""The model as every peer uses it: the same session, the same top five."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FOLDER_VARIABLE = "BENCHMARK_MODEL"


class Model:
    """An image classifier on ONNX Runtime with one thread, since every server here has one core."""

    def __init__(self, folder: Path) -> None:
        """Load the version in ``folder``."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.input_name: str = manifest["inputs"][0]["name"]
        self.labels: list[str] = manifest["labels"]
        self.size: tuple[int, int] = (manifest["preprocessing"]["width"], manifest["preprocessing"]["height"])

    @classmethod
    def from_environment(cls) -> "Model":
        """The version in the folder that the benchmark names."""
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(batch, height, width, channels) -> (batch, classes)."""
        probabilities: NDArray[np.float32] = self.session.run(None, {self.input_name: images})[0]
        return probabilities

    def classify(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """(height, width, channels) -> the answer's JSON, with the five likeliest labels."""
        return self.answer(self.infer(image[np.newaxis])[0])

    def answer(self, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        """(classes) -> the answer's JSON."""
        order = np.argsort(-probabilities)[:5].tolist()
        top = [{"label": self.labels[index], "probability": float(probabilities[index])} for index in order]
        return {"predictions": [{**top[0], "top": top}]}
