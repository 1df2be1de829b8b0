"""From a trained network to a version in the models: exported, compared, measured once, described."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.manifest import GRAPH_FILE, DataSource, Manifest, save_golden
from models.repository import Repository
from training.errors import ExportError
from training.export import MIN_PARITY_SAMPLES, export_graph, publish, tensor_specs
from training.noise import draw_noise
from training.profile_generator.card import CardFacts, write_card
from training.profile_generator.copies import CopyFilter, find_free_column
from training.profile_generator.data import ProfileData
from training.profile_generator.encoding import Encoding
from training.profile_generator.evaluate import measure
from training.profile_generator.golden import golden_examples
from training.profile_generator.model import ProfileNetwork
from training.profile_generator.rules import Pairs, Rule
from training.profile_generator.sampling import Sampler, draw_targets
from training.profile_generator.served import ServedDecoder
from training.profile_generator.words import append_words
from training.provenance import describe_provenance

if TYPE_CHECKING:
    from training.profile_generator.train import Config

KIND = "profile_generator"
LIBRARIES = ("torch", "accelerate", "onnx", "onnxscript", "numpy", "pandas", "scikit-learn", "sdmetrics")
PARITY_SAMPLES = 2 * MIN_PARITY_SAMPLES
PARITY_BATCHES = (1, 7, 64, PARITY_SAMPLES)
TOLERANCE = 1e-6  # relative: numbers are rounded in double precision and only then become float32


@dataclass(frozen=True)
class Learnt:
    """What training has learnt: how to read the table, the rules and what they forbid, and the network on the CPU."""

    encoding: Encoding
    rules: Sequence[Rule]
    pairs: Pairs
    network: ProfileNetwork
    history: Sequence[Mapping[str, float]]


def publish_version(config: "Config", data: ProfileData, learnt: Learnt, models: Path) -> Manifest:
    """Add what was learnt to the models.

    Args:
        config: what trained it.
        data: what it was trained on; the test split is used here and nowhere else.
        learnt: by training.
        models: the folder of models.

    Raises:
        ExportError: the graph does not do what the network does; nothing is written.
        ModelError: the version cannot be added.
    """
    served = build_served(config, data, learnt)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH_FILE
        export_decoder(served, graph)
        sampler = Sampler(graph, data.table.preprocessing)
        difference = check_rows(served, sampler)
        measurements = measure(data, learnt.encoding, learnt.rules, sampler, config.seed)
        metrics = {**measurements.metrics, "export_difference": difference}
        golden = golden_examples(graph, data.table.preprocessing)
        inputs, outputs = tensor_specs(graph)

        def write(folder: Path, version: int) -> Manifest:
            (folder / GRAPH_FILE).write_bytes(graph.read_bytes())
            save_golden(folder, golden)
            target = data.table.preprocessing.target
            manifest = Manifest(
                kind=KIND,
                version=version,
                created=datetime.now(UTC).replace(microsecond=0),
                task="tabular-generation",
                description=f"Generates rows like those of '{data.table.name}', with the '{target.name}' asked for.",
                architecture=config.architecture,
                parameters=learnt.network.decoder_parameters(),
                inputs=inputs,
                outputs=outputs,
                labels=target.categories,
                preprocessing=data.table.preprocessing,
                metrics=metrics,
                provenance=describe_provenance(config, _describe_data(data), LIBRARIES, learnt.history[-1]["seconds"]),
            )
            write_card(folder, CardFacts(manifest, learnt.history, data, measurements, sampler))
            return manifest

        return publish(Repository(models), KIND, write)


def build_served(config: "Config", data: ProfileData, learnt: Learnt) -> ServedDecoder:
    """The module that is exported."""
    column = find_free_column(learnt.encoding, data.train) if config.avoid_copies else None
    copies = CopyFilter(learnt.encoding, data.train, column, config.seed) if column is not None else None
    return ServedDecoder(learnt.network, learnt.encoding, learnt.pairs, copies).eval()


def export_decoder(served: ServedDecoder, path: Path) -> None:
    """Write ``served`` as one ONNX file that answers words."""
    inputs = {"z": torch.zeros(2, served.noise), "target": torch.tensor([0, 1])}
    names = ["numbers"] * bool(served.encoding.numbers) + ["places"] * bool(served.encoding.texts)
    export_graph(served, inputs, names, path)
    if served.encoding.texts:
        append_words(path, "places", "texts", served.words)


def check_rows(served: ServedDecoder, sampler: Sampler) -> float:
    """Compare the graph with the network on rows alone and in batches of several sizes.

    Returns:
        The largest relative difference of a number.

    Raises:
        ExportError: a text differs, a number by more than ``TOLERANCE``, or a value is missing in one of them alone.
    """
    z, target = draw_noise(0, PARITY_SAMPLES, served.noise), draw_targets(0, PARITY_SAMPLES, 0.5)
    with torch.inference_mode():
        outputs = list(served(torch.from_numpy(z), torch.from_numpy(target)))
    numbers = outputs.pop(0).numpy() if served.encoding.numbers else np.empty((PARITY_SAMPLES, 0), np.float32)
    texts = (
        np.array(served.words, dtype=object)[outputs.pop(0).numpy()]
        if served.encoding.texts
        else np.empty((PARITY_SAMPLES, 0), object)
    )
    worst = 0.0
    for size in PARITY_BATCHES:
        found_numbers, found_texts = sampler.run(z, target, size)
        if (found_texts != texts).any():
            row, column = np.argwhere(found_texts != texts)[0]
            raise ExportError(
                f"texts at batch size {size}: '{found_texts[row, column]}' at ({row}, {column}), expected "
                f"'{texts[row, column]}' as in PyTorch"
            )
        differences = np.abs(found_numbers - numbers) / np.maximum(np.abs(numbers), 1)
        allowed = (differences <= TOLERANCE) | (np.isnan(found_numbers) & np.isnan(numbers))
        if not allowed.all():
            row, column = np.argwhere(~allowed)[0]
            raise ExportError(
                f"numbers at batch size {size}: {found_numbers[row, column]} at ({row}, {column}), expected "
                f"{numbers[row, column]} as in PyTorch, within {TOLERANCE:g} of it"
            )
        worst = max(worst, float(np.nan_to_num(differences).max(initial=0.0)))
    return worst


def _describe_data(data: ProfileData) -> DataSource:
    return DataSource(
        name=data.table.name,
        source=data.table.source,
        sha256=data.table.sha256,
        train_examples=len(data.train),
        validation_examples=len(data.validation),
        test_examples=len(data.test),
    )
