"""A small but real model to serve in tests: it says which of the colours red, green and blue a picture has most of."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import JsonValue

from models.image import ImagePreprocessing
from models.manifest import (
    CARD_FILE,
    GRAPH_FILE,
    DataSource,
    DType,
    Golden,
    GoldenExample,
    GoldenRequest,
    Manifest,
    Provenance,
    TensorSpec,
    save_golden,
)
from models.repository import Repository

KIND = "image_classifier"
LABELS = ("red", "green", "blue")
SIZE = 8
# The logits of a plain picture of one colour are this times the colour's share of 255.
SHARPNESS = 4.0

# A name, ONNX's type, and the sizes behind the batch.
OnnxTensor = tuple[str, int, Sequence[int | str]]


def plain_picture(colour: tuple[int, int, int], size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    """A picture of one colour; ``size`` is (width, height)."""
    return Image.new("RGB", size, colour)


def encode(picture: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, format_name, **options)
    return file.getvalue()


def expected_probabilities(colour: tuple[int, int, int]) -> list[float]:
    """What the model has to say of a plain picture, computed without it."""
    logits = SHARPNESS * np.array(colour) / 255
    exponentials = np.exp(logits)
    return list(map(float, exponentials / exponentials.sum()))


def add_version(
    root: Path,
    *,
    labels: tuple[str, ...] = LABELS,
    change_graph: Callable[[onnx.ModelProto], None] | None = None,
    change_manifest: Callable[[Manifest], Manifest] | None = None,
    golden_shift: float = 0.0,
) -> Manifest:
    """Add a version of the model to the models at ``root``, as training would.

    Args:
        root: the folder of models.
        labels: what the model calls its three colours.
        change_graph: makes the graph another than the manifest says.
        change_manifest: makes the manifest another than the graph is.
        golden_shift: is added to the golden probabilities.
    """

    def write(folder: Path, version: int) -> Manifest:
        graph = make_graph()
        if change_graph is not None:
            change_graph(graph)
        write_files(folder, graph, _make_golden(labels, golden_shift))
        manifest = make_manifest(version, labels)
        return change_manifest(manifest) if change_manifest is not None else manifest

    return Repository(root).add(KIND, write)


def write_files(folder: Path, graph: onnx.ModelProto, golden: Golden) -> None:
    """What a version of any kind has beside its manifest."""
    (folder / GRAPH_FILE).write_bytes(graph.SerializeToString())
    (folder / CARD_FILE).write_text("# A test's model\n")
    save_golden(folder, golden)


def build_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[OnnxTensor],
    outputs: Sequence[OnnxTensor],
    constants: Mapping[str, Any],
) -> onnx.ModelProto:
    """A graph of ``nodes`` that ONNX finds in order; ``constants`` are its initializers."""
    first, last = (
        [helper.make_tensor_value_info(name, onnx_type, ["batch", *sizes]) for name, onnx_type, sizes in side]
        for side in (inputs, outputs)
    )
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", first, last, initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    return model


def specify(name: str, dtype: DType, *sizes: int | str) -> TensorSpec:
    """A tensor of a manifest, by its sizes behind the batch."""
    return TensorSpec(name=name, dtype=dtype, shape=("batch", *sizes))


def make_graph() -> onnx.ModelProto:
    """uint8 (batch, 8, 8, 3) -> float32 (batch, 3): softmax of the sharpened mean of each channel."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return build_model(
        nodes,
        [("images", TensorProto.UINT8, (SIZE, SIZE, 3))],
        [("probabilities", TensorProto.FLOAT, (3,))],
        {"axes": np.array([1, 2], np.int64), "scale": np.float32(SHARPNESS / 255)},
    )


def slow_down(model: onnx.ModelProto) -> None:
    """Make every run of the graph multiply two matrices of 1,536 by 1,536, to no effect on its answers."""
    graph = model.graph
    constants: dict[str, NDArray[Any]] = {
        "side": np.array([1536, 1536], np.int64),
        "all": np.array([0, 1], np.int64),
        "zero": np.array(0, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    softmax = graph.node.pop()
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["logits", "all"], ["mean"], keepdims=0),
            helper.make_node("Expand", ["mean", "side"], ["matrix"]),
            helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
            helper.make_node("ReduceMean", ["product", "all"], ["product_mean"], keepdims=0),
            helper.make_node("Mul", ["product_mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["logits", "nothing"], ["slow_logits"]),
            helper.make_node("Softmax", ["slow_logits"], list(softmax.output), axis=1),
        ]
    )
    onnx.checker.check_model(model)


@lru_cache
def run_graph(colour: tuple[int, int, int]) -> list[float]:
    """The graph's probabilities for a plain picture, by ONNX Runtime and nothing else."""
    pixels = np.array(plain_picture(colour))
    session = onnxruntime.InferenceSession(make_graph().SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities: list[float] = session.run(None, {"images": pixels[np.newaxis]})[0][0].tolist()
    return probabilities


def _make_golden(labels: tuple[str, ...], shift: float) -> Golden:
    examples = []
    for colour in ((200, 40, 10), (10, 90, 250)):
        picture = plain_picture(colour)
        probabilities = run_graph(colour)
        ranked = sorted(zip(probabilities, labels, strict=True), reverse=True)[:2]
        top: list[JsonValue] = [{"label": label, "probability": probability + shift} for probability, label in ranked]
        request = GoldenRequest(
            content_type="image/png", query={"top_k": "2"}, body=base64.b64encode(encode(picture)).decode()
        )
        best: dict[str, JsonValue] = {"label": ranked[0][1], "probability": ranked[0][0] + shift}
        examples.append(GoldenExample(request=request, predictions=({**best, "top": top},)))
    return Golden(tolerance=1e-4, examples=tuple(examples))


def make_manifest(version: int, labels: tuple[str, ...]) -> Manifest:
    """A manifest as training hands it over: its files are still to be filled in."""
    return Manifest.model_construct(
        kind=KIND,
        version=version,
        created=datetime.now(UTC),
        task="image classification",
        description="Which of three colours a picture has most of.",
        architecture="mean",
        parameters=1,
        inputs=(specify("images", "uint8", SIZE, SIZE, 3),),
        outputs=(specify("probabilities", "float32", 3),),
        labels=labels,
        preprocessing=ImagePreprocessing(height=SIZE, width=SIZE, channels=3),
        metrics={"accuracy": 1.0},
        provenance=Provenance(
            command="pytest",
            seed=0,
            data=DataSource(
                name="none", source="none", sha256="0" * 64, train_examples=1, validation_examples=0, test_examples=1
            ),
            settings={},
            libraries={"onnx": onnx.__version__},
            hardware="any",
            training_seconds=1.0,
        ),
        files={},
    )
