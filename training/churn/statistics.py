"""What a version of the churn model has seen."""

from pathlib import Path

import onnxruntime

from models.distributions import Statistics
from models.manifest import GRAPH_FILE, Manifest
from training.churn.graph import feeds_of, run_graph
from training.statistics import measure_statistics
from training.table import Table

BATCH = 512


def measure(folder: Path, manifest: Manifest, table: Table) -> Statistics:
    """The columns of the table, and what the graph says of its rows: it learnt from all, so that none are left."""
    session = onnxruntime.InferenceSession(folder / GRAPH_FILE, providers=["CPUExecutionProvider"])
    feeds = feeds_of(table.numbers, table.texts)
    probabilities, _ = run_graph(session, feeds, BATCH)
    return measure_statistics(manifest, zip(*feeds.values(), strict=True), probabilities)
