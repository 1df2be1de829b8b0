"""From a trained network to a version in the models: calibrated, tested once, exported, described."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.manifest import GRAPH_FILE, Manifest, save_golden
from models.repository import Repository
from training.export import MIN_PARITY_SAMPLES, check_parity, export_graph, publish, tensor_specs
from training.image_classifier.card import CardFacts, write_card
from training.image_classifier.golden import golden_examples
from training.image_classifier.predict import ServedNetwork, predict
from training.image_classifier.statistics import measure
from training.images import ImageData, Images, to_tensor
from training.metrics import classification_metrics, fit_temperature
from training.provenance import describe_provenance, describe_source

if TYPE_CHECKING:
    from training.image_classifier.train import Config

Floats = NDArray[np.float32]

KIND = "image_classifier"
LIBRARIES = ("torch", "torchvision", "accelerate", "onnx", "onnxscript", "numpy", "pillow")
SAMPLES = max(256, MIN_PARITY_SAMPLES)


def publish_version(
    config: "Config",
    data: ImageData,
    network: nn.Module,
    mean: Tensor,
    deviation: Tensor,
    history: Sequence[Mapping[str, float]],
    models: Path,
) -> Manifest:
    """Add ``network`` to the models.

    Args:
        config: what trained it.
        data: what it was trained on; the test split is used here and nowhere else.
        network: normalised images to logits, on the CPU.
        mean: by which pixels are normalised, (channels, 1, 1).
        deviation: likewise.
        history: a record for each epoch.
        models: the folder of models.

    Raises:
        ExportError: the graph does not do what the network does; nothing is written.
        ModelError: the version cannot be added.
    """
    network = network.eval()
    temperature = fit_temperature(
        predict(network, data.validation.images, mean, deviation), torch.from_numpy(data.validation.labels)
    )
    served = ServedNetwork(network, mean, deviation, temperature).eval()
    probabilities = torch.softmax(predict(network, data.test.images, mean, deviation) / temperature, dim=1).numpy()
    metrics = classification_metrics(probabilities, data.test.labels, data.labels)
    views = predict(network, data.test.images, mean, deviation, views=True)
    metrics["accuracy_test_time_augmentation"] = round(float((views.argmax(1).numpy() == data.test.labels).mean()), 6)
    metrics["temperature"] = round(temperature, 6)

    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH_FILE
        export_graph(served, {"images": torch.from_numpy(data.test.images[:2])}, ["probabilities"], graph)
        metrics["export_difference"] = check_parity(served, graph, {"images": _parity_samples(data)})
        inputs, outputs = tensor_specs(graph)
        golden = golden_examples(
            graph, data.labels, data.preprocessing, [_encode(image) for image in _sample(data.test.images)]
        )

        example = data.test.images[len(data.test) // 3]
        filters, feature_maps = _first_layer(network, example[np.newaxis], mean, deviation)

        def write(folder: Path, version: int) -> Manifest:
            (folder / GRAPH_FILE).write_bytes(graph.read_bytes())
            save_golden(folder, golden)
            manifest = Manifest(
                kind=KIND,
                version=version,
                created=datetime.now(UTC).replace(microsecond=0),
                task="image-classification",
                description=f"Classifies a picture as one of {len(data.labels)} classes.",
                architecture=config.architecture,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                inputs=inputs,
                outputs=outputs,
                labels=data.labels,
                preprocessing=data.preprocessing,
                metrics=metrics,
                provenance=describe_provenance(config, describe_source(data), LIBRARIES, history[-1]["seconds"]),
            )
            manifest = manifest.model_copy(update={"statistics": measure(folder, manifest, data)})
            facts = CardFacts(
                manifest=manifest,
                history=history,
                test=data.test,
                probabilities=probabilities,
                filters=filters,
                feature_maps=feature_maps,
                example=example,
            )
            write_card(folder, facts)
            return manifest

        return publish(Repository(models), KIND, write)


@torch.no_grad()
def _first_layer(network: nn.Module, images: Images, mean: Tensor, deviation: Tensor) -> tuple[Floats, Floats]:
    """The first layer's filters (filters, channels, height, width), and its maps (maps, height, width) of an image."""
    layer = next(part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear))
    if isinstance(layer, nn.Linear):
        shape = images.shape[3], images.shape[1], images.shape[2]
        return layer.weight.view(-1, *shape).numpy(), np.empty((0, 1, 1), np.float32)
    pixels = (to_tensor(images) - mean) / deviation
    return layer.weight.numpy(), layer(pixels.expand(-1, layer.in_channels, -1, -1))[0].numpy()


def _sample(images: Images) -> Images:
    """Some of the images, evenly over them all: they may stand in order of their classes."""
    return images[:: max(1, len(images) // SAMPLES)][:SAMPLES]


def _parity_samples(data: ImageData) -> Tensor:
    """Images to compare graph and network on; what a small test split lacks is filled up with random pixels."""
    images = torch.from_numpy(_sample(data.test.images))
    noise = torch.Generator().manual_seed(0)
    missing = (max(0, MIN_PARITY_SAMPLES - len(images)), *images.shape[1:])
    return torch.cat((images, torch.randint(256, missing, dtype=torch.uint8, generator=noise)))


def _encode(image: Images) -> bytes:
    """(height, width, channels) as PNG."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, format="png")
    return file.getvalue()
