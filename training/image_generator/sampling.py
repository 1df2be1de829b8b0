"""Images from a generator: what a network or the graph makes of noise."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from training.image_generator.data import to_bytes
from training.images import Images, Labels
from training.noise import draw_noise

Floats = NDArray[np.float32]

BATCH = 250
STATISTICS_BATCHES = 20
STATISTICS_BATCH_SIZE = 128


class Sampler:
    """The exported graph in ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.latents: int = self.session.get_inputs()[0].shape[1]

    def run(self, z: Floats, labels: Labels, truncation: float = 1.0, batch_size: int = BATCH) -> Images:
        """(rows, latents), (rows,) -> (rows, height, width, channels)."""
        truncations = np.full(len(z), truncation, np.float32)
        parts = []
        for start in range(0, len(z), batch_size):
            rows = slice(start, start + batch_size)
            inputs: dict[str, Any] = {"z": z[rows], "label": labels[rows], "truncation": truncations[rows]}
            parts.append(self.session.run(["images"], inputs)[0])
        return np.concatenate(parts)

    def sample(self, seed: int, labels: Labels, truncation: float = 1.0) -> Images:
        """An image of each of ``labels``, from the noise of ``seed``."""
        return self.run(draw_noise(seed, len(labels), self.latents), labels, truncation)


@torch.no_grad()
def generate(generator: nn.Module, z: Floats, labels: Labels, device: torch.device) -> Images:
    """What a network in evaluation mode makes of noise and labels: (rows, height, width, channels)."""
    parts = []
    for start in range(0, len(z), BATCH):
        rows = slice(start, start + BATCH)
        images = generator(torch.from_numpy(z[rows]).to(device), torch.from_numpy(labels[rows]).to(device))
        parts.append(to_bytes(images).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def settle_statistics(generator: nn.Module, labels: Labels, seed: int, device: torch.device) -> None:
    """Compute the statistics of batch norms anew, for the weights as they are now, and set evaluation mode.

    Averaged weights have other statistics than the averages of statistics say (Brock et al. 2019, section 3).

    Args:
        generator: changed in place.
        labels: of which labels are drawn, (any,).
        seed: decides noise and labels.
        device: where the generator is.
    """
    norms = [part for part in generator.modules() if isinstance(part, nn.BatchNorm2d)]
    random = np.random.Generator(np.random.PCG64(seed))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    latents = cast(int, generator.latents)
    generator.train()
    for _ in range(STATISTICS_BATCHES if norms else 0):
        z = random.standard_normal((STATISTICS_BATCH_SIZE, latents), dtype=np.float32)
        chosen = random.choice(labels, STATISTICS_BATCH_SIZE)
        generator(torch.from_numpy(z).to(device), torch.from_numpy(chosen).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()
