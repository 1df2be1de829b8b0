"""A small but real model to serve in tests: it makes up images, each class with a brightness of its own."""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.image import ImagePreprocessing
from models.manifest import Golden, GoldenExample, GoldenRequest, Manifest
from models.repository import Repository
from tests.versions import build_model, make_manifest, specify, write_files

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
        write_files(folder, _make_graph(channels), _make_golden(channels, golden_shift))
        update = {
            "kind": KIND,
            "description": "Images of three classes.",
            "inputs": (
                specify("z", "float32", NOISE),
                specify("label", "int64"),
                specify("truncation", "float32"),
            ),
            "outputs": (specify("images", "uint8", HEIGHT, WIDTH, channels),),
            "preprocessing": ImagePreprocessing(height=HEIGHT, width=WIDTH, channels=channels),
        }
        return make_manifest(version, LABELS).model_copy(update=update | changes)

    return Repository(root).add(KIND, write)


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
        examples.append(GoldenExample(request=GoldenRequest.from_json(request), predictions=tuple(predictions)))
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
        ("z", TensorProto.FLOAT, (NOISE,)),
        ("label", TensorProto.INT64, ()),
        ("truncation", TensorProto.FLOAT, ()),
    ]
    return build_model(nodes, inputs, [("images", TensorProto.UINT8, (HEIGHT, WIDTH, channels))], constants)
