"""From a trained generator to a version in the models: exported, compared, measured once, described."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.manifest import GRAPH_FILE, Manifest, save_golden
from models.repository import Repository
from training.errors import ExportError
from training.export import MIN_PARITY_SAMPLES, export_graph, publish, tensor_specs
from training.image_generator.card import CardFacts, write_card
from training.image_generator.comparison import load_results
from training.image_generator.evaluate import measure
from training.image_generator.golden import golden_examples
from training.image_generator.judge import Judge
from training.image_generator.sampling import Sampler
from training.image_generator.served import ServedGenerator
from training.images import ImageData
from training.noise import draw_noise
from training.provenance import describe_provenance, describe_source

if TYPE_CHECKING:
    from training.image_generator.train import Config

KIND = "image_generator"
LIBRARIES = ("torch", "torchvision", "accelerate", "onnx", "onnxscript", "numpy", "scikit-learn")
PARITY_BATCHES = (1, 2, 7, 64)
# In levels of 0 to 255. Where PyTorch's value lies nearer than this to half-way between two bytes, either is right.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Learnt:
    """What training has learnt: the generator on the CPU, and the judge that watched."""

    generator: nn.Module
    judge: Judge
    history: Sequence[Mapping[str, float]]


def publish_version(
    config: "Config", data: ImageData, learnt: Learnt, accelerator: Accelerator, models: Path
) -> Manifest:
    """Add what was learnt to the models.

    Args:
        config: what trained it.
        data: what it was trained on; the test split is used here and nowhere else.
        learnt: by training.
        accelerator: what the classifiers that measure are trained on.
        models: the folder of models.

    Raises:
        ExportError: the graph does not do what the network does; nothing is written.
        ModelError: the version cannot be added.
    """
    served = ServedGenerator(learnt.generator).eval()
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH_FILE
        samples = draw_samples(config.latents, len(data.labels))
        export_graph(served, {name: tensor[:2] for name, tensor in samples.items()}, ["images"], graph)
        differing = check_images(served, graph, samples)
        sampler = Sampler(graph)
        measurements = measure(config, data, learnt.judge, sampler, accelerator)
        golden = golden_examples(sampler, data.labels)
        inputs, outputs = tensor_specs(graph)

        def write(folder: Path, version: int) -> Manifest:
            (folder / GRAPH_FILE).write_bytes(graph.read_bytes())
            save_golden(folder, golden)
            manifest = Manifest(
                kind=KIND,
                version=version,
                created=datetime.now(UTC).replace(microsecond=0),
                task="image-generation",
                description=f"Generates images like those of '{data.name}', {_describe_labels(data.labels)}.",
                architecture=config.architecture,
                parameters=sum(parameter.numel() for parameter in learnt.generator.parameters()),
                inputs=inputs,
                outputs=outputs,
                labels=data.labels,
                preprocessing=data.preprocessing,
                metrics={**measurements.metrics, "export_differing_share": differing},
                provenance=describe_provenance(config, describe_source(data), LIBRARIES, learnt.history[-1]["seconds"]),
            )
            write_card(folder, CardFacts(manifest, learnt.history, data, measurements, sampler, load_results()))
            return manifest

        return publish(Repository(models), KIND, write)


def draw_samples(latents: int, classes: int) -> dict[str, Tensor]:
    """Inputs to compare graph and network on, of every label and of truncations from 0.25 to 1."""
    rows = np.arange(MIN_PARITY_SAMPLES)
    return {
        "z": torch.from_numpy(draw_noise(0, len(rows), latents)),
        "label": torch.from_numpy(rows % classes),
        "truncation": torch.from_numpy((0.25 * (1 + rows % 4)).astype(np.float32)),
    }


def check_images(served: ServedGenerator, path: Path, samples: Mapping[str, Tensor]) -> float:
    """Compare the graph with the network, and with itself in batches of several sizes.

    A byte may be another than PyTorch's by one, and that only where PyTorch's value lies half-way between both,
    within ``TOLERANCE``: there the last bit decides. In batches of other sizes every byte is the same.

    Args:
        served: as it was exported.
        path: the graph.
        samples: each input, (samples, ...).

    Returns:
        The share of bytes that are others than PyTorch's.

    Raises:
        ExportError: a byte is further off, or depends on the batch.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {name: tensor.numpy() for name, tensor in samples.items()}
    (found,) = session.run(["images"], inputs)
    with torch.inference_mode():
        levels = served.levels(**samples).double().numpy()
    check_levels(path, levels, found)
    for size in PARITY_BATCHES:
        for start in range(0, len(found), size):
            part = {name: array[start : start + size] for name, array in inputs.items()}
            (alone,) = session.run(["images"], part)
            if not np.array_equal(alone, found[start : start + size]):
                raise ExportError(f"{path}: images in batches of {size} are not those in a batch of {len(found)}")
    return float((found != np.floor(levels + 0.5)).mean())


def check_levels(path: Path, levels: NDArray[np.float64], found: NDArray[np.uint8]) -> None:
    """Check that bytes are levels rounded, either way where a level lies half-way within ``TOLERANCE``.

    Raises:
        ExportError: one is not; it says which.
    """
    if levels.shape != found.shape:
        raise ExportError(f"{path}: images: shape {found.shape}, expected {levels.shape} as in PyTorch")
    distances = np.abs(levels - found)
    if not (distances <= 0.5 + TOLERANCE).all():
        place = np.unravel_index(np.argmax(np.nan_to_num(distances, nan=np.inf)), distances.shape)
        raise ExportError(
            f"{path}: images: {found[place]} at {tuple(map(int, place))}, expected {levels[place]:.3f} rounded, as in "
            f"PyTorch"
        )


def _describe_labels(labels: Sequence[str]) -> str:
    return f"of any of {len(labels)} classes" if len(labels) > 1 else f"all of them '{labels[0]}'"
