"""From the network to a graph that reads raw values: strings are looked up inside of it.

PyTorch has no strings, so the look-up is built by hand and put in front of the exported network. One ``LabelEncoder``
turns the whole matrix of strings into places of one vocabulary over all columns; a table then says what place that
word has in its column, if it is one of the column's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from training.churn.data import Vocabulary
from training.churn.model import ServedNetwork
from training.errors import ExportError
from training.export import MIN_PARITY_SAMPLES, OPSET, check_graph, export_graph
from training.table import Table

BATCH_SIZES = (1, 2, 7, 64)
TOLERANCE = 1e-5
ML_OPSET = 4
OUTPUTS = ("probabilities", "log_odds")


def export_served(served: ServedNetwork, table: Table, vocabulary: Vocabulary, path: Path) -> None:
    """Write ``served`` as one ONNX file that takes ``numbers`` and ``texts``, one of them if the table has no other.

    Raises:
        ExportError: the graph is not what ``training.export`` promises.
    """
    numbers, codes = torch.zeros(2, table.numbers.shape[1]), torch.zeros(2, table.texts.shape[1], dtype=torch.long)
    inputs = {name: value for name, value in (("numbers", numbers), ("codes", codes)) if value.shape[1]}
    export_graph(served, inputs, OUTPUTS, path)
    if "codes" not in inputs:
        return
    network = onnx.load(path)
    look_up = _build_look_up(vocabulary, network.ir_version)
    graph = compose.merge_models(look_up, network, io_map=[("codes", "codes")])
    _order_inputs(graph)
    _name_opsets_once(graph)
    graph.producer_name = network.producer_name
    onnx.save(graph, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    names = feeds_of(table.numbers, table.texts)
    check_graph(path, {name: "string" if name == "texts" else "float32" for name in names}, OUTPUTS)


def check_raw_parity(served: ServedNetwork, path: Path, table: Table, vocabulary: Vocabulary) -> float:
    """Compare the graph with the network on raw rows at several batch sizes; the largest difference.

    It is absolute, and of log-odds beyond one relative to them.

    The rows are those of ``table``, spread over all of it and filled up to ``MIN_PARITY_SAMPLES`` from the beginning,
    with the same again once all is missing and once all is unknown.

    Raises:
        ExportError: an answer differs by more than ``TOLERANCE``.
    """
    rows = np.resize(np.arange(len(table))[:: max(1, len(table) // MIN_PARITY_SAMPLES)], MIN_PARITY_SAMPLES)
    numbers, texts = table.numbers[rows], table.texts[rows]
    nothing = np.full_like(numbers, np.nan), np.full_like(texts, "")
    unknown = numbers * 3 + 1, np.full_like(texts, "no such category")
    numbers = np.concatenate((numbers, nothing[0][:2], unknown[0][:2]))
    texts = np.concatenate((texts, nothing[1][:2], unknown[1][:2]))
    feeds = feeds_of(numbers, texts)
    tensors = {"numbers": torch.from_numpy(numbers), "codes": torch.from_numpy(vocabulary.encode(texts))}
    with torch.inference_mode():
        expected = served(**{name: tensor if tensor.shape[1] else None for name, tensor in tensors.items()})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in BATCH_SIZES:
        found = run_graph(session, feeds, size)
        for name, want, have in zip(OUTPUTS, expected, found, strict=True):
            if want.shape != have.shape:
                raise ExportError(f"{path}: {name} at batch size {size}: {have.shape}, expected {tuple(want.shape)}")
            # Log-odds have no bound: beyond one, what counts is the difference in proportion.
            difference = float((np.abs(want.numpy() - have) / np.maximum(np.abs(want.numpy()), 1)).max())
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{path}: {name} at batch size {size}: differs by {difference} from PyTorch, expected {TOLERANCE:g}"
                )
            worst = max(worst, difference)
    return worst


def run_graph(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, NDArray[Any]], batch_size: int
) -> list[NDArray[np.float32]]:
    """What the graph answers for raw rows, so many at a time: (rows, 2) and (rows, 1)."""
    count = len(next(iter(feeds.values())))
    batches = [
        session.run(list(OUTPUTS), {name: values[start : start + batch_size] for name, values in feeds.items()})
        for start in range(0, count, batch_size)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def feeds_of(numbers: NDArray[np.float32], texts: NDArray[np.object_]) -> dict[str, NDArray[Any]]:
    """The graph's inputs for rows; one without columns is none of them."""
    feeds: dict[str, NDArray[Any]] = {"numbers": numbers, "texts": texts}
    return {name: values for name, values in feeds.items() if values.shape[1]}


def _build_look_up(vocabulary: Vocabulary, ir_version: int) -> onnx.ModelProto:
    """Strings (batch, columns) -> places (batch, columns)."""
    columns = len(vocabulary.places)
    words = sorted({word for places in vocabulary.places for word in places if word is not None})
    table = np.array(
        [[places.get(word, places[None]) for places in vocabulary.places] for word in (None, *words)], dtype=np.int64
    )
    constants = {"look_up_table": table.ravel(), "columns": np.arange(columns), "width": np.array(columns)}
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["texts"],
            ["words"],
            domain="ai.onnx.ml",
            keys_strings=words,
            values_int64s=list(range(1, len(words) + 1)),
            default_int64=0,
        ),
        helper.make_node("Mul", ["words", "width"], ["lines"]),
        helper.make_node("Add", ["lines", "columns"], ["cells"]),
        helper.make_node("Gather", ["look_up_table", "cells"], ["codes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "look_up",
        [helper.make_tensor_value_info("texts", TensorProto.STRING, ["batch", columns])],
        [helper.make_tensor_value_info("codes", TensorProto.INT64, ["batch", columns])],
        [numpy_helper.from_array(np.asarray(value, dtype=np.int64), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _order_inputs(model: onnx.ModelProto) -> None:
    """``numbers`` before ``texts``."""
    inputs: Sequence[onnx.ValueInfoProto] = sorted(model.graph.input, key=lambda value: value.name)
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del model.graph.input[:]
    model.graph.input.extend(copies)


def _name_opsets_once(model: onnx.ModelProto) -> None:
    """Merging leaves the opset of each part, which are the same."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
