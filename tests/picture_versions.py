"""A small but real model to serve in tests: it makes up images, each class with a brightness of its own."""

import base64
import json
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.image import ImagePreprocessing
from models.manifest import (
    CARD_FILE,
    GRAPH_FILE,
    DType,
    Golden,
    GoldenExample,
    GoldenRequest,
    Manifest,
    TensorSpec,
    save_golden,
)
from models.repository import Repository
from tests.versions import make_manifest

KIND: Final = "image_generator"
LABELS: Final = ("coat", 'T-shirt/"top"', "Stövel")
NOISE: Final = 5
HEIGHT, WIDTH = 6, 4

Pixels = NDArray[np.uint8]
Channels = Literal[1, 3]


def draw_label(seed: int) -> str:
    """What a seed shows where no label is asked for, computed without the service."""
    return LABELS[int(np.random.Generator(np.random.PCG64([seed, 1])).random() * len(LABELS))]


def draw_noise(seed: int) -> NDArray[np.float32]:
    """The noise (5,) of a seed, computed without the service."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(NOISE, dtype=np.float32)


def expected_pixels(z: NDArray[np.float32], label: str, truncation: float = 1.0, channels: Channels = 1) -> Pixels:
    """What the generator has to make of noise, computed without it: (height, width, channels), within one level."""
    values = (z * np.float32(truncation)).astype(np.float64) @ _weights(channels) + 60 * LABELS.index(label) + 64
    return np.clip(values, 0, 255).astype(np.uint8).reshape(HEIGHT, WIDTH, channels)


def add_image_generator(root: Path, channels: Channels = 1, golden_shift: float = 0.0, **changes: object) -> Manifest:
    """Add a version that makes up images to the models at ``root``.

    Args:
        root: the folder of models.
        channels: of an image.
        golden_shift: is added to the golden pixels.
        changes: of the manifest.
    """

    def write(folder: Path, version: int) -> Manifest:
        (folder / GRAPH_FILE).write_bytes(_make_graph(channels).SerializeToString())
        (folder / CARD_FILE).write_text("# A test's model\n")
        save_golden(folder, _make_golden(channels, golden_shift))
        update = {
            "kind": KIND,
            "description": "Images of three classes.",
            "inputs": (
                _specify("z", "float32", NOISE),
                _specify("label", "int64"),
                _specify("truncation", "float32"),
            ),
            "outputs": (_specify("images", "uint8", HEIGHT, WIDTH, channels),),
            "preprocessing": ImagePreprocessing(height=HEIGHT, width=WIDTH, channels=channels),
        }
        return make_manifest(version, LABELS).model_copy(update=update | changes)

    return Repository(root).add(KIND, write)


def _specify(name: str, dtype: DType, *sizes: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("batch", *sizes))


def _weights(channels: Channels) -> NDArray[np.float32]:
    """(noise, pixels)."""
    generator = np.random.Generator(np.random.PCG64(0))
    return generator.normal(0, 12, (NOISE, HEIGHT * WIDTH * channels)).astype(np.float32)


def _make_golden(channels: Channels, shift: float) -> Golden:
    requests: list[dict[str, Any]] = [
        {"count": 2, "label": LABELS[1], "seed": 7},
        {"count": 1, "label": LABELS[2], "seed": 2**40, "truncation": 0.5},
    ]
    examples = []
    for request in requests:
        predictions = []
        for seed in range(request["seed"], request["seed"] + request["count"]):
            label = request["label"]
            pixels = expected_pixels(draw_noise(seed), label, request.get("truncation", 1.0), channels)
            predictions.append({"seed": seed, "label": label, "pixels": (pixels / 255 + shift).tolist()})
        body = base64.b64encode(json.dumps(request).encode()).decode()
        examples.append(
            GoldenExample(
                request=GoldenRequest(content_type="application/json", body=body), predictions=tuple(predictions)
            )
        )
    return Golden(tolerance=0.01, examples=tuple(examples))


def _make_graph(channels: Channels) -> onnx.ModelProto:
    """z (batch, 5), label (batch,) and truncation (batch,) -> images (batch, 6, 4, channels)."""
    constants = {
        "axis": np.array([1], np.int64),
        "weights": _weights(channels),
        "brightness": np.array([[64], [124], [184]], np.float32),
        "darkest": np.float32(0),
        "brightest": np.float32(255),
        "shape": np.array([-1, HEIGHT, WIDTH, channels], np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["truncation", "axis"], ["factor"]),
        helper.make_node("Mul", ["z", "factor"], ["truncated"]),
        helper.make_node("MatMul", ["truncated", "weights"], ["texture"]),
        helper.make_node("Gather", ["brightness", "label"], ["level"], axis=0),
        helper.make_node("Add", ["texture", "level"], ["values"]),
        helper.make_node("Clip", ["values", "darkest", "brightest"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["flat"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["flat", "shape"], ["images"]),
    ]
    inputs = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", NOISE]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("truncation", TensorProto.FLOAT, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", HEIGHT, WIDTH, channels])]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "images", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model
