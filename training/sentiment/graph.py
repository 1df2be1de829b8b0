"""The network as an ONNX graph whose recurrent layers read each text to its own end and no further."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from models.text import TokenIds
from training.errors import ExportError
from training.export import OPSET, export_graph
from training.sentiment.batches import measure_lengths, pad, sort_batches
from training.sentiment.predict import ServedNetwork

INPUT = "token_ids"
OUTPUTS = ("probabilities", "logits")
TOLERANCE = 1e-5
# The gates of a cell in PyTorch's order, as ONNX wants them: input, output, forget, cell; update, reset, hidden.
_GATES = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2)}
_BATCH_SIZES = (1, 2, 7, 64)
_MIN_TEXTS = 256


class _Layer(nn.Module):
    """One recurrent layer in one direction, as the operator of ONNX, which takes the lengths of texts.

    PyTorch's exporter leaves the lengths out, so that what reads backwards would begin with padding.
    """

    def __init__(self, layer: nn.LSTM | nn.GRU, index: int, direction: str) -> None:
        super().__init__()
        self.operator, self.hidden, self.direction = type(layer).__name__, layer.hidden_size, direction
        order = _GATES[type(layer)]

        def gates(name: str) -> Tensor:
            parts: tuple[Tensor, ...] = getattr(layer, f"{name}_l{index}").detach().chunk(len(order))
            return torch.cat([parts[gate] for gate in order])

        self.weight = nn.Buffer(gates("weight_ih")[None])
        self.recurrence = nn.Buffer(gates("weight_hh")[None])
        self.bias = nn.Buffer(torch.cat([gates("bias_ih"), gates("bias_hh")])[None])

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(sequence, batch, inputs) -> states (sequence, batch, hidden) and the last of each text (batch, hidden)."""
        sequence, batch = vectors.shape[0], vectors.shape[1]
        attributes: dict[str, Any] = {"hidden_size": self.hidden, "direction": self.direction}
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1  # as PyTorch computes it
        states, last = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            (vectors, self.weight, self.recurrence, self.bias, lengths),
            attributes,
            dtypes=(torch.float32, torch.float32),
            shapes=((sequence, 1, batch, self.hidden), (1, batch, self.hidden)),
            version=OPSET,
        )
        return states.squeeze(1), last.squeeze(0)


class _GraphNetwork(nn.Module):
    """What :class:`ServedNetwork` computes, in the operators of ONNX, with embeddings in half precision."""

    def __init__(self, served: ServedNetwork) -> None:
        super().__init__()
        self.served = served
        reader = served.network.reader
        self.embedding = nn.Buffer(reader.embedding.weight.detach().half())
        cells = cast(list[nn.LSTM | nn.GRU], list(reader.directions))
        names = ("forward", "reverse")
        self.directions = [
            [_Layer(cell, index, name) for index in range(cell.num_layers)]
            for cell, name in zip(cells, names, strict=False)
        ]
        self.layers = nn.ModuleList(layer for layers in self.directions for layer in layers)

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, sequence) padded behind with 0 -> twice (batch, classes)."""
        network = self.served.network
        present = token_ids != 0
        # A row of nothing but padding is no text, and has an answer that is a number all the same.
        lengths = present.sum(1).clamp_min(1).to(torch.int32)
        embedded = F.embedding(token_ids, self.embedding).float().transpose(0, 1)  # (sequence, batch, dimensions)
        directions, last = [], []
        for layers in self.directions:
            states = embedded
            for layer in layers:
                states, end = layer(states, lengths)
            directions.append(states.transpose(0, 1))
            last.append(end)
        return self.served.answer(network.answer(directions, torch.cat(last, 1), present), token_ids)


def export_served(served: ServedNetwork, path: Path) -> None:
    """Write ``served`` as one ONNX file: ``token_ids`` int32 (batch, sequence) in, OUTPUTS (batch, classes) out.

    Raises:
        ExportError: the graph is not what :mod:`training.export` promises.
    """
    example = torch.ones(2, 3, dtype=torch.int32)
    export_graph(_GraphNetwork(served).eval(), {INPUT: example}, list(OUTPUTS), path, {INPUT: {1: "sequence"}})


def check_text_parity(served: ServedNetwork, path: Path, texts: Sequence[TokenIds]) -> float:
    """Compare the graph with the network on texts of many lengths, alone and in batches, padded more and less.

    Args:
        served: as it was exported, on the CPU.
        path: the graph.
        texts: token ids; where there are fewer than 256 they are taken again.

    Returns:
        The largest absolute difference of a probability.

    Raises:
        ExportError: one is larger than 1e-5.
    """
    texts = [texts[number % len(texts)] for number in range(max(len(texts), _MIN_TEXTS))]
    with torch.inference_mode():
        expected = torch.cat([served(pad([text]))[0] for text in texts]).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in _BATCH_SIZES:
        found = run_graph(session, texts, [np.arange(len(texts))[at : at + size] for at in range(0, len(texts), size)])
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{path}: probabilities in batches of {size} differ by {difference:g} from PyTorch's of single texts, "
                f"expected at most {TOLERANCE:g}"
            )
        worst = max(worst, difference)
    return worst


def run_graph(
    session: onnxruntime.InferenceSession, texts: Sequence[TokenIds], batches: Sequence[NDArray[np.int64]] | None = None
) -> NDArray[np.float32]:
    """The probabilities of texts, (texts, classes); in ``batches`` of rows, or else in batches of like length."""
    batches = sort_batches(measure_lengths(texts), 32) if batches is None else batches
    answers = [
        session.run([OUTPUTS[0]], {INPUT: pad([texts[row] for row in rows]).numpy().astype(np.int32)})[0]
        for rows in batches
    ]
    found: NDArray[np.float32] = np.concatenate(answers)
    return found[np.argsort(np.concatenate(batches))]
