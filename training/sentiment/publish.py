"""From a trained network to a version in the models: calibrated, tested once, exported, described."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from pydantic import JsonValue

from models.manifest import GRAPH_FILE, DataSource, Manifest, save_golden
from models.repository import Repository
from models.text import TOKENIZER_FILE, TextReader
from training.export import publish, tensor_specs
from training.metrics import DECIMALS, classification_metrics, fit_temperature
from training.provenance import describe_provenance
from training.sentiment.card import CardFacts, write_card
from training.sentiment.data import TextData
from training.sentiment.golden import golden_examples
from training.sentiment.graph import check_text_parity, export_served, run_graph
from training.sentiment.leans import count_tokens, measure_leans
from training.sentiment.predict import ServedNetwork, predict
from training.sentiment.shards import Shards

if TYPE_CHECKING:
    from training.sentiment.train import Config, State, Texts

KIND = "sentiment"
LIBRARIES = ("torch", "tokenizers", "accelerate", "scikit-learn", "onnx", "onnxscript", "numpy")
SAMPLES = 256


def publish_version(config: "Config", texts: "Texts", state: "State", models: Path) -> Manifest:
    """Add the averaged network of ``state`` to the models.

    Args:
        config: what trained it.
        texts: what it was trained on; the test split is used here and nowhere else.
        state: of a training that is done.
        models: the folder of models.

    Raises:
        ExportError: the graph does not do what the network does; nothing is written.
        ModelError: the version cannot be added.
    """
    network, data = state.served.cpu().eval(), texts.data
    temperature = fit_temperature(
        predict(network, texts.validation, Shards(torch.device("cpu"))), torch.from_numpy(data.validation.labels)
    )
    served = ServedNetwork(network, temperature).eval()
    reader = TextReader(texts.tokenizer, texts.preprocessing)
    readings = reader.read_all(data.test.texts)
    ids = [reading.ids for reading in readings]

    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH_FILE
        export_served(served, graph)
        difference = check_text_parity(served, graph, ids[:: max(1, len(ids) // SAMPLES)][:SAMPLES])
        inputs, outputs = tensor_specs(graph)
        # What is tested is what is served.
        probabilities = run_graph(onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]), ids)
        metrics: dict[str, JsonValue] = {
            **classification_metrics(probabilities, data.test.labels, data.labels),
            "temperature": round(temperature, DECIMALS),
            "truncated_share": round(float(np.mean([reading.truncated for reading in readings])), DECIMALS),
            "graph_bytes": graph.stat().st_size,
            "export_difference": difference,
        }
        golden = golden_examples(graph, data.labels, reader, data.test.texts[:: max(1, len(data.test) // SAMPLES)])
        counts, leans = count_tokens(texts), measure_leans(texts)
        seconds = state.seconds + (state.pretraining[-1]["seconds"] if state.pretraining else 0.0)

        def write(folder: Path, version: int) -> Manifest:
            (folder / GRAPH_FILE).write_bytes(graph.read_bytes())
            (folder / TOKENIZER_FILE).write_text(texts.tokenizer.to_str(), encoding="utf-8")
            save_golden(folder, golden)
            manifest = Manifest(
                kind=KIND,
                version=version,
                created=datetime.now(UTC).replace(microsecond=0),
                task="text-classification",
                description=f"Tells which of {len(data.labels)} classes a text is of: {', '.join(data.labels[:5])}.",
                architecture=config.architecture,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                inputs=inputs,
                outputs=outputs,
                labels=data.labels,
                preprocessing=texts.preprocessing,
                metrics=metrics,
                provenance=describe_provenance(config, _describe_data(data), LIBRARIES, seconds),
            )
            facts = CardFacts(
                manifest=manifest,
                history=state.history,
                pretraining=state.pretraining,
                texts=data.test.texts,
                labels=data.test.labels,
                probabilities=probabilities,
                tokens=np.array([reading.tokens for reading in readings]),
                embeddings=network.reader.embedding.weight.detach().numpy(),
                vocabulary=[str(texts.tokenizer.id_to_token(token)) for token in range(texts.vocabulary)],
                counts=counts,
                leans=leans,
            )
            write_card(folder, facts)
            return manifest

        return publish(Repository(models), KIND, write)


def _describe_data(data: TextData) -> DataSource:
    return DataSource(
        name=data.name,
        source=data.source,
        sha256=data.sha256,
        train_examples=len(data.train),
        validation_examples=len(data.validation),
        test_examples=len(data.test),
    )
