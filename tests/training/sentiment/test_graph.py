from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from models.text import TokenIds
from training.errors import ExportError
from training.export import tensor_specs
from training.sentiment.batches import pad
from training.sentiment.graph import check_text_parity, export_served, run_graph
from training.sentiment.model import ARCHITECTURES, POOLINGS, Reader, SentimentNetwork
from training.sentiment.ngrams import NgramClassifier
from training.sentiment.predict import ServedNetwork

LENGTHS = (1, 2, 3, 5, 8, 13, 40, 100, 399, 400)


def served(
    architecture: str = "bilstm", pooling: str = "concat", layers: int = 1, seed: int = 0, ngrams: int = 2
) -> ServedNetwork:
    torch.manual_seed(seed)
    network = SentimentNetwork(Reader(architecture, 300, 16, 12, layers, 0.0), pooling, 3)
    with torch.no_grad():
        network.classifier.weight.normal_()  # so that differences show
        network.set_scale(torch.randn(50, network.classifier.in_features))
    network.round_embeddings()
    if not ngrams:
        return ServedNetwork(network, 0.7).eval()
    weight = torch.randn(600, 3) / 10
    weight[0] = 0.0
    return ServedNetwork(network, 0.7, NgramClassifier(weight, torch.randn(3), 300, ngrams), 0.3).eval()


def texts(count: int) -> list[TokenIds]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, 300, LENGTHS[number % len(LENGTHS)]).astype(np.int32) for number in range(count)]


@pytest.mark.parametrize(
    ("architecture", "pooling", "layers"),
    [
        *((architecture, "max", 1) for architecture in ARCHITECTURES),
        *(("bilstm", pooling, 1) for pooling in POOLINGS),
        ("bilstm", "last", 2),
        ("gru", "concat", 2),
    ],
)
def test_the_graph_says_what_the_network_says_at_any_length_and_in_any_batch(
    tmp_path: Path, architecture: str, pooling: str, layers: int
) -> None:
    module, path = served(architecture, pooling, layers), tmp_path / "model.onnx"
    export_served(module, path)
    assert check_text_parity(module, path, texts(40)) < 1e-5


@pytest.mark.parametrize("ngrams", [0, 1, 3])
def test_the_graph_weighs_ngrams_as_they_were_learnt(tmp_path: Path, ngrams: int) -> None:
    module, path = served(ngrams=ngrams), tmp_path / "model.onnx"
    export_served(module, path)
    assert check_text_parity(module, path, texts(40)) < 1e-5


def test_the_graph_is_one_file_of_plain_operators_with_the_lengths_at_the_recurrent_ones(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_served(served(), path)
    graph = onnx.load(path).graph
    recurrent = [node for node in graph.node if node.op_type == "LSTM"]
    assert len(recurrent) == 2
    weights = {tensor.name for tensor in graph.initializer}
    for node in recurrent:
        assert {*node.input[1:4]} <= weights
        assert node.input[4] not in weights
        assert node.input[4] != ""
    assert next(tensor for tensor in graph.initializer if tensor.dims == [300, 16]).data_type == TensorProto.FLOAT16
    inputs, outputs = tensor_specs(path)
    assert [(spec.name, spec.dtype, spec.shape) for spec in inputs] == [("token_ids", "int32", ("batch", "sequence"))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in outputs] == [
        ("probabilities", "float32", ("batch", 3)),
        ("logits", "float32", ("batch", 3)),
    ]


def test_probabilities_are_the_softmax_of_the_logits(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_served(served(), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    probabilities, logits = session.run(None, {"token_ids": pad(texts(10)).numpy().astype(np.int32)})
    assert np.allclose(probabilities, torch.softmax(torch.from_numpy(logits), 1).numpy(), atol=1e-6)


def test_a_row_of_nothing_but_padding_is_answered_with_numbers(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_served(served(), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ids = np.zeros((2, 5), np.int32)
    ids[0] = 7
    alone = session.run(None, {"token_ids": ids[:1]})[0]
    probabilities = session.run(None, {"token_ids": ids})[0]
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities[:1], alone, atol=1e-6)


def test_a_graph_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_served(served(seed=1), path)
    with pytest.raises(ExportError, match=r"in batches of 1 differ by .* expected at most 1e-05"):
        check_text_parity(served(seed=2), path, texts(10))


def test_answers_come_in_the_order_of_the_texts(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    module = served()
    export_served(module, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    some = texts(37)
    with torch.inference_mode():
        expected = torch.cat([module(pad([text]))[0] for text in some]).numpy()
    assert np.allclose(run_graph(session, some), expected, atol=1e-5)
