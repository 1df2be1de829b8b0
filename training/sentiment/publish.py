"""From a trained network to a version in the models: calibrated, tested once, exported, described."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

from models.manifest import GRAPH_FILE, Manifest, save_golden
from models.repository import Repository
from models.text import TOKENIZER_FILE, TextReader, TokenIds
from training.export import publish, tensor_specs
from training.metrics import DECIMALS, classification_metrics, fit_weights
from training.provenance import describe_provenance, describe_source
from training.sentiment.card import CardFacts, write_card
from training.sentiment.golden import golden_examples
from training.sentiment.graph import check_text_parity, export_served, run_graph
from training.sentiment.leans import count_tokens, measure_leans
from training.sentiment.model import SentimentNetwork
from training.sentiment.ngrams import NgramClassifier, fit_ngrams
from training.sentiment.predict import ServedNetwork, predict
from training.sentiment.shards import Shards
from training.statistics import measure_statistics

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
    network.round_embeddings()
    served = stack(network, state.ngrams, texts, Shards(torch.device("cpu")))
    served.ngrams = fit_ngrams_of(config, texts, validation=True)
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
            **_describe_parts(served, probabilities, ids, data.test.labels),
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
                parameters=_count_parameters(served),
                inputs=inputs,
                outputs=outputs,
                labels=data.labels,
                preprocessing=texts.preprocessing,
                metrics=metrics,
                provenance=describe_provenance(config, describe_source(data), LIBRARIES, seconds),
            )
            read = ((ids,) for ids in texts.read.take(texts.train))
            manifest = manifest.model_copy(update={"statistics": measure_statistics(manifest, read, probabilities)})
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
                learnt=texts.learnt,
                unlabelled=len(texts.unlabelled),
                leans=leans,
            )
            write_card(folder, facts)
            return manifest

        return publish(Repository(models), KIND, write)


def fit_ngrams_of(config: "Config", texts: "Texts", *, validation: bool = False) -> NgramClassifier | None:
    """The classifier of n-grams, of the training texts as they are read; None where the configuration wants none.

    It learns from labels alone: what the network thinks of unlabelled texts makes it better by itself, but so like the
    network that the two together are worse. With ``validation`` it learns from those texts as well, which is for when
    they have nothing more to decide.
    """
    if not config.ngrams:
        return None
    labelled, labels = texts.read.take(texts.train), texts.data.train.labels
    if validation:
        labelled, labels = [*labelled, *texts.validation], np.concatenate((labels, texts.data.validation.labels))
    return fit_ngrams(
        labelled,
        labels,
        len(texts.data.labels),
        vocabulary=texts.vocabulary,
        longest=config.ngrams,
        weights=config.ngram_weights,
        regularisation=config.ngram_regularisation,
    )


def stack(network: SentimentNetwork, ngrams: NgramClassifier | None, texts: "Texts", shards: Shards) -> ServedNetwork:
    """Network and n-grams with the weights that suit the validation texts best."""
    classifiers = (network,) if ngrams is None else (network, ngrams)
    logits = [predict(classifier, texts.validation, shards) for classifier in classifiers]
    network_weight, *others = fit_weights(logits, torch.from_numpy(texts.data.validation.labels))
    return ServedNetwork(network, network_weight, ngrams, *others).eval()


def _describe_parts(
    served: ServedNetwork, probabilities: NDArray[np.float32], ids: Sequence[TokenIds], labels: NDArray[np.int64]
) -> dict[str, JsonValue]:
    """By what logits are multiplied, and how often network and n-grams would be right alone."""
    if served.ngrams is None:
        return {"network_weight": round(served.network_weight, DECIMALS)}
    said = predict(served.ngrams, ids, Shards(torch.device("cpu"))).numpy()
    # Logits less what the n-grams add are the network's, but for a number that all classes of a text share.
    rest = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) - served.ngrams_weight * said
    return {
        "network_weight": round(served.network_weight, DECIMALS),
        "ngrams_weight": round(served.ngrams_weight, DECIMALS),
        "accuracy_of_network": round(float((rest.argmax(1) == labels).mean()), DECIMALS),
        "accuracy_of_ngrams": round(float((said.argmax(1) == labels).mean()), DECIMALS),
    }


def _count_parameters(served: ServedNetwork) -> int:
    """The numbers that were learnt."""
    learnt = [*served.network.parameters(), *(() if served.ngrams is None else served.ngrams.buffers())]
    return sum(values.numel() for values in learnt)
