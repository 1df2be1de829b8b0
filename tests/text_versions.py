"""A small but real model of texts to serve in tests: a tokenizer of a few lines, and an LSTM with drawn weights."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper
from pydantic import JsonValue
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from models.manifest import Golden, GoldenExample, GoldenRequest, Manifest
from models.repository import Repository
from models.text import TOKENIZER_FILE, TextPreprocessing, TokenIds
from tests.versions import build_model, make_manifest, specify, write_files

Prediction = dict[str, Any]

KIND: Final = "sentiment"
SENTIMENTS: Final = ("negative", "positive")
PREPROCESSING: Final = TextPreprocessing(max_tokens=100, head_tokens=60, unknown_id=1)
WORDS: Final = (
    *("the", "film", "a", "movie", "is", "was", "not", "good", "bad", "great", "awful", "I", "liked", "it"),
    *("very", "much", "and", "but", "boring", "fun", "never", "again", "actors", "plot", "music", "end", "start"),
)
TEXTS: Final = (
    "The film was very good, and I liked it very much!",
    "A boring movie: the plot is awful.",
    "",
    "not bad",
)
_VOCABULARY: Final = 120
_DIMENSIONS: Final = 12
_UNITS: Final = 16


def make_text(number: int, words: int | None = None) -> str:
    """A text that only ``number`` has, of so many words or of 1 to 150."""
    generator = np.random.default_rng(number)
    count = int(generator.integers(1, 151)) if words is None else words
    return f"{number} " + " ".join(generator.choice(WORDS, count))


def add_sentiment(
    root: Path,
    *,
    labels: tuple[str, ...] = SENTIMENTS,
    change_graph: Callable[[onnx.ModelProto], None] | None = None,
    golden_shift: float = 0.0,
    **changes: object,
) -> Manifest:
    """Add a version that tells what is thought to the models at ``root``.

    Args:
        root: the folder of models.
        labels: what it tells apart.
        change_graph: makes the graph another than the manifest says.
        golden_shift: is added to the golden probabilities.
        changes: of the manifest.
    """

    def write(folder: Path, version: int) -> Manifest:
        graph = make_graph(len(labels))
        if change_graph is not None:
            change_graph(graph)
        write_files(folder, graph, _make_golden(labels, golden_shift))
        (folder / TOKENIZER_FILE).write_text(_make_tokenizer().to_str())
        return make_manifest(version, labels).model_copy(
            update={
                "kind": KIND,
                "description": "What is thought of a film.",
                "inputs": (specify("token_ids", "int32", "sequence"),),
                "outputs": tuple(specify(name, "float32", len(labels)) for name in ("probabilities", "logits")),
                "preprocessing": PREPROCESSING,
                **changes,
            }
        )

    return Repository(root).add(KIND, write)


def read_text(text: str) -> tuple[TokenIds, list[tuple[int, int]], int, bool]:
    """What the model has to read of a text, found out without the service: ids, offsets, tokens, truncated."""
    encoding = _make_tokenizer().encode(text)
    ids, offsets = list(encoding.ids), list(encoding.offsets)
    tokens = len(ids) - 2
    if truncated := len(ids) > 100:
        ids, offsets = ids[:60] + ids[-40:], offsets[:60] + offsets[-40:]
    return np.array(ids, np.int32), offsets, tokens, truncated


def run_alone(ids: TokenIds, classes: int = 2) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The graph's probabilities and logits, (classes,), for one text and nothing else."""
    probabilities, logits = _open_graph(classes).run(["probabilities", "logits"], {"token_ids": ids[np.newaxis]})
    return probabilities[0], logits[0]


def expected_prediction(text: str, labels: tuple[str, ...] = SENTIMENTS) -> Prediction:
    """The model's answer for a text, from the tokenizer and ONNX Runtime and nothing else."""
    ids, _, tokens, truncated = read_text(text)
    probabilities = run_alone(ids, len(labels))[0].tolist()
    best = max(range(len(labels)), key=probabilities.__getitem__)
    return {
        "label": labels[best],
        "probability": probabilities[best],
        "probabilities": dict(zip(labels, probabilities, strict=True)),
        "tokens": tokens,
        "truncated": truncated,
    }


@lru_cache
def _make_tokenizer() -> Tokenizer:
    """Words in lower case and marks, rare ones in pieces; ``<br />`` is a space, and a token stands at either end."""
    special = ["[PAD]", "[UNK]", "[START]", "[END]"]
    tokenizer = Tokenizer(BPE(unk_token="[UNK]", continuing_subword_prefix="##", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("<br */?>"), " "), normalizers.NFC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\p{L}\p{M}]+|\p{N}+|[^\s]"), "removed", invert=True)
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=special, continuing_subword_prefix="##", show_progress=False
    )
    tokenizer.train_from_iterator([*WORDS * 3, *TEXTS, *"0123456789"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 2), ("[END]", 3)]
    )
    return tokenizer


def make_graph(classes: int = 2) -> onnx.ModelProto:
    """token_ids int32 (batch, sequence) -> probabilities and logits (batch, classes): a BiLSTM's last states."""
    generator = np.random.default_rng(7)
    units = _UNITS

    def draw(*shape: int) -> NDArray[np.float32]:
        return generator.normal(0, 0.6, shape).astype(np.float32)

    constants = {
        "padding": np.int32(0),
        "axis": np.array([1], np.int64),
        "embedding": draw(_VOCABULARY, _DIMENSIONS),
        "input_weights": draw(2, 4 * units, _DIMENSIONS),
        "state_weights": draw(2, 4 * units, units),
        "biases": draw(2, 8 * units),
        "joined": np.array([0, 2 * units], np.int64),
        "dense": draw(2 * units, classes),
    }
    nodes = [
        helper.make_node("Equal", ["token_ids", "padding"], ["absent"]),
        helper.make_node("Not", ["absent"], ["present"]),
        helper.make_node("Cast", ["present"], ["counted"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["counted", "axis"], ["lengths"], keepdims=0),
        helper.make_node("Gather", ["embedding", "token_ids"], ["vectors"]),
        helper.make_node("Transpose", ["vectors"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM",
            ["steps", "input_weights", "state_weights", "biases", "lengths"],
            ["", "last"],
            direction="bidirectional",
            hidden_size=units,
        ),
        helper.make_node("Transpose", ["last"], ["directions"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["directions", "joined"], ["states"]),
        helper.make_node("MatMul", ["states", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    outputs = [(name, TensorProto.FLOAT, (classes,)) for name in ("probabilities", "logits")]
    return build_model(nodes, [("token_ids", TensorProto.INT32, ("sequence",))], outputs, constants)


@lru_cache
def _open_graph(classes: int) -> Any:
    return onnxruntime.InferenceSession(make_graph(classes).SerializeToString(), providers=["CPUExecutionProvider"])


def _make_golden(labels: tuple[str, ...], shift: float) -> Golden:
    predictions: list[JsonValue] = []
    for text in TEXTS:
        prediction = expected_prediction(text, labels)
        predictions.append({**prediction, "probability": prediction["probability"] + shift})
    example = GoldenExample(request=GoldenRequest.from_json({"texts": TEXTS}), predictions=tuple(predictions))
    return Golden(tolerance=1e-5, examples=(example,))
