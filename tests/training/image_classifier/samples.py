"""Forty images of CIFAR-10, and a small network that has learnt half of them."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from training.image_classifier.predict import ServedNetwork
from training.images import Split, decode_image

FOLDER = Path(__file__).parents[2] / "samples" / "cifar10"
LABELS = tuple(sorted(path.name for path in FOLDER.iterdir() if path.is_dir()))


@dataclass(frozen=True)
class Learnt:
    """A network after a short training, and what it was tested on."""

    served: ServedNetwork
    test: Split
    probabilities: NDArray[np.float32]  # (test images, classes)
    history: list[dict[str, float]]


def load_samples() -> Split:
    """All forty images with the index of their class."""
    files = [(path, index) for index, label in enumerate(LABELS) for path in sorted((FOLDER / label).iterdir())]
    return Split(np.stack([decode_image(path) for path, _ in files]), np.array([index for _, index in files]))


def encode_png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


@cache
def learn() -> Learnt:
    """Train a small convolutional network on every other sample for a second; the rest is the test split."""
    torch.manual_seed(0)
    samples = load_samples()
    train, test = (Split(samples.images[start::2], samples.labels[start::2]) for start in (0, 1))
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(392, 10)
    )
    served = ServedNetwork(network, torch.full((3, 1, 1), 120.0), torch.full((3, 1, 1), 60.0), 1.5)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    history = []
    for epoch in range(1, 9):
        network.train()
        loss = nn.functional.nll_loss(served(torch.from_numpy(train.images)).log(), torch.from_numpy(train.labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        network.eval()
        history.append({"epoch": epoch, **_measure(served, train, "train"), **_measure(served, test, "validation")})
    return Learnt(served.eval(), test, _probabilities(served, test).numpy(), history)


@torch.no_grad()
def _probabilities(served: ServedNetwork, split: Split) -> Tensor:
    probabilities: Tensor = served(torch.from_numpy(split.images))
    return probabilities


def _measure(served: ServedNetwork, split: Split, name: str) -> dict[str, float]:
    probabilities, labels = _probabilities(served, split), torch.from_numpy(split.labels)
    loss = nn.functional.nll_loss(probabilities.log(), labels)
    accuracy = (probabilities.argmax(dim=1) == labels).float().mean()
    return {f"{name}_loss": float(loss), f"{name}_accuracy": float(accuracy)}
