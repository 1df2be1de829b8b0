"""A kind for tests, ``tensors``: a graph with several inputs and outputs of all sorts, texts among them."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import BaseModel, JsonValue

from models.columns import Column, TablePreprocessing
from models.manifest import (
    CARD_FILE,
    GRAPH_FILE,
    Golden,
    GoldenExample,
    GoldenRequest,
    Manifest,
    TensorSpec,
    save_golden,
)
from models.repository import Repository
from service.bodies import Body, read_json
from service.config import Settings
from service.items import Item
from service.queries import Query as CommonQuery
from service.session import Row
from tests.versions import make_manifest

KIND = "tensors"
TABLE = (0.5, -1.25, 1e300)
ENDING = "!"
# (name, the manifest's dtype, ONNX's, sizes behind the batch)
INPUTS: Sequence[tuple[str, Any, int, tuple[int, ...]]] = (
    ("numbers", "float32", TensorProto.FLOAT, (2,)),
    ("texts", "string", TensorProto.STRING, (2,)),
    ("flags", "bool", TensorProto.BOOL, (1,)),
    ("index", "int64", TensorProto.INT64, ()),
)
OUTPUTS: Sequence[tuple[str, Any, int, tuple[int, ...]]] = (
    ("sum", "float32", TensorProto.FLOAT, ()),
    ("words", "string", TensorProto.STRING, (2,)),
    ("opposite", "bool", TensorProto.BOOL, (1,)),
    ("entry", "float64", TensorProto.DOUBLE, ()),
    ("halves", "float16", TensorProto.FLOAT16, (2,)),
)


class TensorRow(BaseModel):
    """One row of the graph's inputs."""

    numbers: tuple[float, float]
    texts: tuple[str, str]
    flag: bool
    index: int


class TensorRequest(BaseModel):
    """Rows of the graph's inputs."""

    rows: tuple[TensorRow, ...]


class TensorResponse(BaseModel):
    """The graph's outputs for each row."""

    model: str
    version: str
    predictions: list[dict[str, Any]]


class TensorKind:
    """As the files in service/kinds/."""

    ROUTE = "/tensors"
    MEDIA_TYPES: Mapping[str, Mapping[str, Any]] = {"application/json": TensorRequest.model_json_schema()}
    Query = CommonQuery
    Request = TensorRequest
    Response = TensorResponse

    def load(self, folder: Path, manifest: Manifest) -> Manifest:
        return manifest

    def parse(self, body: Body, settings: Settings) -> TensorRequest:
        return read_json(TensorRequest, body.content)

    def is_quick(self, content: TensorRequest) -> bool:
        return True

    def preprocess(
        self, content: TensorRequest, query: CommonQuery, manifest: Manifest, settings: Settings
    ) -> Iterator[Item]:
        for row in content.rows:
            yield Item(
                (
                    np.array(row.numbers, np.float32),
                    np.array(row.texts, object),
                    np.array([row.flag]),
                    np.array(row.index),
                )
            )

    def postprocess(self, row: Row, facts: None, query: CommonQuery, manifest: Manifest) -> dict[str, object]:
        values = zip(OUTPUTS, row, strict=True)
        return {
            name: np.asarray(value, object if dtype == "string" else dtype).tolist()
            for (name, dtype, *_), value in values
        }


def add_tensor_version(root: Path) -> Manifest:
    """Add a version of the kind to the models at ``root``."""

    def write(folder: Path, version: int) -> Manifest:
        (folder / GRAPH_FILE).write_bytes(_make_graph().SerializeToString())
        (folder / CARD_FILE).write_text("# A test's model\n")
        save_golden(folder, _make_golden())
        column = Column(name="numbers", type="number")
        target = Column(name="target", type="boolean", categories=("No", "Yes"))
        changes = {
            "kind": KIND,
            "inputs": tuple(_specify(*tensor) for tensor in INPUTS),
            "outputs": tuple(_specify(*tensor) for tensor in OUTPUTS),
            "preprocessing": TablePreprocessing(columns=(column,), target=target, target_shares=(0.5, 0.5)),
        }
        return make_manifest(version, ()).model_copy(update=changes)

    return Repository(root).add(KIND, write)


def _specify(name: str, dtype: Any, _: int, sizes: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("batch", *sizes))


def _make_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceSum", ["numbers", "axis"], ["sum"], keepdims=0),
        helper.make_node("StringConcat", ["texts", "ending"], ["words"]),
        helper.make_node("Not", ["flags"], ["opposite"]),
        helper.make_node("Gather", ["table", "index"], ["entry"]),
        helper.make_node("Cast", ["numbers"], ["halves"], to=TensorProto.FLOAT16),
    ]
    constants = [
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.array([ENDING], object), "ending"),
        numpy_helper.from_array(np.array(TABLE), "table"),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, onnx_type, ["batch", *sizes]) for name, _, onnx_type, sizes in tensors]
        for tensors in (INPUTS, OUTPUTS)
    )
    graph = helper.make_graph(nodes, "tensors", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _make_golden() -> Golden:
    row = TensorRow(numbers=(1.5, 2), texts=("a", "ü"), flag=True, index=1)
    request = TensorRequest(rows=(row,)).model_dump_json().encode()
    prediction: JsonValue = {
        "sum": 3.5,
        "words": ["a" + ENDING, "ü" + ENDING],
        "opposite": [False],
        "entry": TABLE[1],
        "halves": [1.5, 2.0],
    }
    example = GoldenExample(
        request=GoldenRequest(content_type="application/json", body=base64.b64encode(request).decode()),
        predictions=(prediction,),
    )
    return Golden(tolerance=1e-6, examples=(example,))
