from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.command import build_config
from training.errors import ExportError
from training.export import export_graph
from training.image_generator.model import Shape, build_generator
from training.image_generator.publish import TOLERANCE, check_images, check_levels, draw_samples
from training.image_generator.sampling import Sampler, settle_statistics
from training.image_generator.served import ServedGenerator
from training.image_generator.train import RECIPES, Config
from training.noise import draw_noise


@pytest.mark.parametrize("architecture", ["dcgan", "mlp"])
def test_the_graph_makes_the_network_s_images_in_batches_of_any_size(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = build_config(Config, RECIPES, {"architecture": architecture, "width": 4, "latents": 6})
    generator = build_generator(settings, Shape(1, 8, 3))
    settle_statistics(generator, np.arange(3), 0, torch.device("cpu"))
    served, samples = ServedGenerator(generator).eval(), draw_samples(6, 3)
    graph = tmp_path / "model.onnx"
    export_graph(served, {name: tensor[:2] for name, tensor in samples.items()}, ["images"], graph)
    assert check_images(served, graph, samples) < 0.01
    sampler, labels = Sampler(graph), np.zeros(20, np.int64)
    whole, centred = (sampler.run(draw_noise(0, 20, 6), labels, truncation) for truncation in (1.0, 0.0))
    assert len(np.unique(whole, axis=0)) == 20
    assert len(np.unique(centred, axis=0)) == 1
    with pytest.raises(ExportError, match=r"images: \d+ at .* rounded, as in PyTorch"):
        check_images(ServedGenerator(Darker(generator)).eval(), graph, samples)


class Darker(nn.Module):
    """A generator whose images are a level darker."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        darker: Tensor = self.generator(z, label) - 2 / 255
        return darker


def test_a_byte_may_be_either_where_the_level_lies_half_way() -> None:
    levels = np.array([[7.5 - TOLERANCE / 2, 7.5 + TOLERANCE / 2, 3.0]])
    check_levels(Path("g"), levels, np.array([[8, 7, 3]], np.uint8))
    with pytest.raises(ExportError, match=r"images: 8 at \(0, 0\), expected 7\.400 rounded"):
        check_levels(Path("g"), np.array([[7.4]]), np.array([[8]], np.uint8))
    with pytest.raises(ExportError, match=r"shape \(1, 1\), expected \(1, 3\)"):
        check_levels(Path("g"), levels, np.array([[8]], np.uint8))
