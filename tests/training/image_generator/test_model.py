import re

import pytest
import torch
from torch import nn

from training.command import build_config
from training.errors import SettingError
from training.image_generator.model import Dense, Shape, build_discriminator, build_generator
from training.image_generator.train import RECIPES, Config


def settings(architecture: str, **given: object) -> Config:
    return build_config(Config, RECIPES, {"architecture": architecture, "width": 4, "latents": 6, **given})


@pytest.mark.parametrize("architecture", ["sngan", "dcgan", "mlp"])
@pytest.mark.parametrize(("side", "channels", "classes"), [(8, 1, 1), (28, 1, 10), (32, 3, 5), (64, 3, 2)])
def test_a_generator_makes_images_and_a_discriminator_judges_each(
    architecture: str, side: int, channels: int, classes: int
) -> None:
    shape = Shape(channels, side, classes)
    labels = torch.arange(4) % classes
    images = build_generator(settings(architecture), shape)(torch.randn(4, 6), labels)
    assert images.shape == (4, channels, side, side)
    assert images.abs().max() <= 1
    verdict = build_discriminator(settings(architecture), shape)(images, labels)
    assert verdict.score.shape == (4,)
    assert verdict.class_logits.shape == (4, classes)
    assert len(verdict.features) == 4


def test_the_shipped_generator_has_at_most_one_and_a_half_million_parameters() -> None:
    generator = build_generator(build_config(Config, RECIPES, {}), Shape(1, 28, 10))
    assert sum(parameter.numel() for parameter in generator.parameters()) < 1_500_000


@pytest.mark.parametrize("architecture", ["sngan", "dcgan", "mlp"])
def test_the_label_decides_the_image_and_its_score(architecture: str) -> None:
    shape, z = Shape(1, 8, 3), torch.randn(1, 6).expand(3, -1)
    generator, discriminator = (
        build(settings(architecture), shape) for build in (build_generator, build_discriminator)
    )
    with torch.no_grad():
        images = generator.eval()(z, torch.arange(3))
        assert not torch.equal(images[0], images[1])
        scores = discriminator.eval()(images[:1].expand(3, -1, -1, -1), torch.arange(3)).score
    assert len(scores.unique()) == 3


@pytest.mark.parametrize("side", [7, 25, 6])
def test_a_side_that_no_doubling_reaches_is_an_error(side: int) -> None:
    for build in (build_generator, build_discriminator):
        with pytest.raises(SettingError, match=re.escape(f"size: {side} is not the double of 4 or more")):
            build(settings("sngan"), Shape(1, side, 2))


def test_spectral_norm_keeps_every_layer_from_stretching() -> None:
    discriminator = build_discriminator(settings("sngan"), Shape(1, 8, 3))
    for _ in range(30):
        discriminator(torch.randn(2, 1, 8, 8), torch.tensor([0, 1]))
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2) < 1.05


def test_batch_norm_is_left_out_where_each_gradient_is_penalised() -> None:
    def count(loss: str) -> int:
        network = build_discriminator(settings("dcgan", loss=loss), Shape(1, 28, 3))
        return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())

    assert (count("bce"), count("wgan-gp")) == (1, 0)


def test_a_dense_layer_answers_the_same_in_training_and_alone() -> None:
    layer, x = Dense(5, 7), torch.randn(9, 5)
    trained = layer(x)
    assert torch.allclose(layer.eval()(x), trained, atol=1e-6)
    assert torch.equal(layer(x[:1]), layer(x)[:1])
