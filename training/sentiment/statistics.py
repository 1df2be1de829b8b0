"""What a version of the sentiment classifier has seen."""

from pathlib import Path

import onnxruntime

from models.distributions import Statistics
from models.manifest import GRAPH_FILE, Manifest, find_preprocessing
from models.text import TextPreprocessing, TextReader, load_tokenizer
from training.sentiment.data import TextData
from training.sentiment.graph import run_graph
from training.statistics import measure_statistics


def measure(folder: Path, manifest: Manifest, data: TextData) -> Statistics:
    """The features of the training texts, and what the graph says of the test texts."""
    reader = TextReader(load_tokenizer(folder), find_preprocessing(manifest, TextPreprocessing))
    train, test = ([reading.ids for reading in reader.read_all(split.texts)] for split in (data.train, data.test))
    session = onnxruntime.InferenceSession(folder / GRAPH_FILE, providers=["CPUExecutionProvider"])
    return measure_statistics(manifest, ((ids,) for ids in train), run_graph(session, test))
