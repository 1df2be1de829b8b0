"""A kind for tests, ``tensors``: a graph with several inputs and outputs of all sorts, texts among them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from pydantic import BaseModel, JsonValue

from models.columns import Column, TablePreprocessing
from models.manifest import Golden, GoldenExample, GoldenRequest, Manifest
from models.repository import Repository
from service.bodies import Body, read_json
from service.config import Settings
from service.items import Item
from service.queries import Query as CommonQuery
from service.session import Row
from tests.versions import build_model, make_manifest, specify, write_files

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
        write_files(folder, _make_graph(), _make_golden())
        column = Column(name="numbers", type="number")
        target = Column(name="target", type="boolean", categories=("No", "Yes"))
        changes = {
            "kind": KIND,
            "inputs": tuple(specify(name, dtype, *sizes) for name, dtype, _, sizes in INPUTS),
            "outputs": tuple(specify(name, dtype, *sizes) for name, dtype, _, sizes in OUTPUTS),
            "preprocessing": TablePreprocessing(columns=(column,), target=target, target_shares=(0.5, 0.5)),
        }
        return make_manifest(version, ()).model_copy(update=changes)

    return Repository(root).add(KIND, write)


def _make_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceSum", ["numbers", "axis"], ["sum"], keepdims=0),
        helper.make_node("StringConcat", ["texts", "ending"], ["words"]),
        helper.make_node("Not", ["flags"], ["opposite"]),
        helper.make_node("Gather", ["table", "index"], ["entry"]),
        helper.make_node("Cast", ["numbers"], ["halves"], to=TensorProto.FLOAT16),
    ]
    constants = {"axis": np.array([1]), "ending": np.array([ENDING], object), "table": np.array(TABLE)}
    inputs, outputs = (
        [(name, onnx_type, sizes) for name, _, onnx_type, sizes in tensors] for tensors in (INPUTS, OUTPUTS)
    )
    return build_model(nodes, inputs, outputs, constants)


def _make_golden() -> Golden:
    row = TensorRow(numbers=(1.5, 2), texts=("a", "ü"), flag=True, index=1)
    request = GoldenRequest.from_json(TensorRequest(rows=(row,)).model_dump(mode="json"))
    prediction: JsonValue = {
        "sum": 3.5,
        "words": ["a" + ENDING, "ü" + ENDING],
        "opposite": [False],
        "entry": TABLE[1],
        "halves": [1.5, 2.0],
    }
    return Golden(tolerance=1e-6, examples=(GoldenExample(request=request, predictions=(prediction,)),))
