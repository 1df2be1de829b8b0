"""Gives the exported decoder the words of its text columns: PyTorch has no strings, ONNX does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = "words"


def append_words(path: Path, places: str, texts: str, words: Sequence[str]) -> None:
    """In the graph at ``path`` replace the output ``places``, int64, by ``texts``, the word at each place."""
    model = onnx.load(path)
    graph = model.graph
    (output,) = [output for output in graph.output if output.name == places]
    graph.initializer.append(numpy_helper.from_array(np.array(words, dtype=object), WORDS))
    graph.node.append(helper.make_node("Gather", [WORDS, places], [texts]))
    output.name = texts
    output.type.tensor_type.elem_type = TensorProto.STRING
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
