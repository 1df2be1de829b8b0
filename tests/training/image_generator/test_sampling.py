import numpy as np
import pytest
import torch
from torch import nn

from training.command import build_config
from training.image_generator.data import to_bytes, to_signed
from training.image_generator.model import Shape, build_generator
from training.image_generator.sampling import generate, settle_statistics
from training.image_generator.train import RECIPES, Config
from training.noise import draw_noise


def test_bytes_and_signed_numbers_are_each_other_s_inverse() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_signed(levels)), levels)
    assert [float(bound) for bound in to_signed(levels).aminmax()] == [-1.0, 1.0]


def test_settled_statistics_make_evaluation_as_normal_as_training() -> None:
    torch.manual_seed(0)
    generator = build_generator(build_config(Config, RECIPES, {"width": 4, "latents": 6}), Shape(1, 8, 3))
    settle_statistics(generator, np.arange(3), 0, torch.device("cpu"))
    assert not generator.training
    seen: list[torch.Tensor] = []
    norm = next(part for part in generator.modules() if isinstance(part, nn.BatchNorm2d))
    norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    labels = np.arange(600) % 3
    images = generate(generator, draw_noise(1, 600, 6), labels, torch.device("cpu"))
    assert images.shape == (600, 8, 8, 1)
    values = torch.cat(seen)
    assert values.mean().item() == pytest.approx(0, abs=0.1)
    assert values.std().item() == pytest.approx(1, abs=0.1)
