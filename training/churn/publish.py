"""From a trained network to a version in the models: exported, compared, described."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import JsonValue
from sklearn.model_selection import train_test_split

from models.manifest import GRAPH_FILE, DataSource, Manifest, save_golden
from models.repository import Repository
from training.churn.card import CardFacts, write_card
from training.churn.data import build_vocabulary
from training.churn.golden import golden_examples, make_background
from training.churn.graph import check_raw_parity, export_served
from training.churn.importance import measure_effects, measure_importances
from training.churn.model import ChurnNetwork, ServedNetwork
from training.churn.report import DECIMALS, Report
from training.churn.statistics import measure
from training.export import publish, tensor_specs
from training.provenance import describe_provenance
from training.table import Table

if TYPE_CHECKING:
    from training.churn.train import Config

KIND = "churn"
LIBRARIES = ("torch", "accelerate", "scikit-learn", "catboost", "optuna", "onnx", "onnxscript", "numpy", "pyarrow")
BACKGROUND_FILE = "background.json"
BACKGROUND_ROWS = 64


def publish_version(
    config: "Config", table: Table, network: ChurnNetwork, report: Report, seconds: float, models: Path
) -> Manifest:
    """Add ``network`` to the models.

    Args:
        config: what trained it, with the settings that a search found.
        table: the rows that it learnt from.
        network: in evaluation mode, on the CPU.
        report: what the folds say of it.
        seconds: how long the training took.
        models: the folder of models.

    Raises:
        ExportError: the graph does not do what the network does; nothing is written.
        ModelError: the version cannot be added.
    """
    served = ServedNetwork(network, report.temperature).eval()
    vocabulary = build_vocabulary(table.preprocessing.text_columns)
    background = draw_background(table, config.seed)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH_FILE
        export_served(served, table, vocabulary, graph)
        difference = check_raw_parity(served, graph, table, vocabulary)
        inputs, outputs = tensor_specs(graph)
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        importances = measure_importances(session, table, background, config.seed)
        effects = measure_effects(session, table, importances)
        metrics: dict[str, JsonValue] = {
            **report.metrics,
            "importances": {name: round(value, DECIMALS) for name, value in importances.items()},
            "export_difference": difference,
        }

        def write(folder: Path, version: int) -> Manifest:
            (folder / GRAPH_FILE).write_bytes(graph.read_bytes())
            (folder / BACKGROUND_FILE).write_text(json.dumps(make_background(table, background)), encoding="utf-8")
            save_golden(folder, golden_examples(graph, table, report.decision))
            target = table.preprocessing.target
            manifest = Manifest(
                kind=KIND,
                version=version,
                created=datetime.now(UTC).replace(microsecond=0),
                task="tabular-classification",
                description=f"Predicts how likely '{target.name}' is '{target.categories[1]}' for a customer.",
                architecture=config.architecture,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                inputs=inputs,
                outputs=outputs,
                labels=target.categories,
                preprocessing=table.preprocessing,
                decision=report.decision,
                metrics=metrics,
                provenance=describe_provenance(config, _describe_data(table), LIBRARIES, seconds),
            )
            manifest = manifest.model_copy(update={"statistics": measure(folder, manifest, table)})
            write_card(folder, CardFacts(manifest=manifest, report=report, config=config, effects=effects))
            return manifest

        return publish(Repository(models), KIND, write)


def draw_background(table: Table, seed: int) -> NDArray[np.int64]:
    """Rows with the training rows' mix of the target, that an explanation compares a customer with."""
    rows = np.arange(len(table))
    if len(rows) <= BACKGROUND_ROWS:
        return rows
    drawn, _ = train_test_split(rows, train_size=BACKGROUND_ROWS, stratify=table.targets, random_state=seed)
    return np.sort(drawn)


def _describe_data(table: Table) -> DataSource:
    return DataSource(
        name=table.name,
        source=table.source,
        sha256=table.sha256,
        # Every row is learnt from, and is tested in each repeat by networks that did not learn from it.
        train_examples=len(table),
        validation_examples=0,
        test_examples=len(table),
    )
