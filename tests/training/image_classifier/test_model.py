from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from training.command import build_config
from training.errors import SettingError
from training.image_classifier.model import ResidualNet, build_network, pass_on
from training.image_classifier.train import RECIPES, Config

SHAPE = (3, 32, 32)


def config(architecture: str, **given: object) -> Config:
    weights = {"weights": "none"} if architecture == "transfer" else {}
    return build_config(Config, RECIPES, {"architecture": architecture, **weights, **given})


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet", "transfer"])
def test_images_become_logits(architecture: str) -> None:
    network = build_network(config(architecture), SHAPE, 10).eval()
    assert network(torch.zeros(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet", "transfer"])
def test_greyscale_images_become_logits(architecture: str) -> None:
    network = build_network(config(architecture), (1, 32, 32), 4).eval()
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("side", [28, 47, 64])
def test_images_of_other_sizes_become_logits(side: int) -> None:
    for architecture in ("mlp", "cnn", "resnet"):
        network = build_network(config(architecture), (3, side, side), 5).eval()
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 5)


def test_the_nets_have_the_sizes_that_they_are_known_for() -> None:
    counts = {
        architecture: sum(p.numel() for p in build_network(config(architecture), SHAPE, 10).parameters())
        for architecture in ("mlp", "cnn", "resnet")
    }
    assert counts["cnn"] == 122_570
    assert counts["mlp"] == 3072 * 200 + 200 + 200 * 150 + 150 + 150 * 10 + 10
    assert counts["resnet"] <= 3_000_000


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet"])
def test_a_gradient_reaches_every_trainable_parameter(architecture: str) -> None:
    torch.manual_seed(0)
    network = build_network(config(architecture), SHAPE, 10)
    network(torch.randn(8, *SHAPE)).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert silent == []


@pytest.mark.parametrize("mirrored", [True, False])
def test_whitened_patches_have_no_correlation(mirrored: bool) -> None:
    torch.manual_seed(0)
    images = torch.randn(200, 3, 8, 8).cumsum(dim=3) * 0.3
    network = build_network(config("resnet", mirrored=mirrored), SHAPE, 10)
    assert isinstance(network, ResidualNet)
    network.set_whitening(images)
    if mirrored:  # it looks at both
        images = torch.cat((images, images.flip(3)))
    patches = network.whiten(images)[:, :12].permute(1, 0, 2, 3).flatten(1)
    covariance = patches @ patches.T / patches.shape[1]
    assert torch.allclose(covariance, torch.eye(12), atol=0.05)
    assert not network.whiten.weight.requires_grad


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small"])
def test_a_frozen_backbone_learns_in_its_last_layer_alone(backbone: str) -> None:
    network = build_network(config("transfer", backbone=backbone), SHAPE, 7).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.randn(4, *SHAPE)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} <= {"backbone.fc", "backbone.classifier.3"}
    assert changed


def test_a_fine_tuned_backbone_learns_everywhere() -> None:
    network = build_network(config("transfer", frozen=False), SHAPE, 7)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_backbone_takes_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(3)
    weights = resnet18().state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    network = build_network(config("transfer", weights=str(path)), SHAPE, 7)
    assert torch.equal(network.state_dict()["backbone.conv1.weight"], weights["conv1.weight"])


def test_weights_that_are_not_there_or_of_another_net_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(nn.Linear(2, 2).state_dict(), path)
    for file in (path, tmp_path / "missing.pth"):
        with pytest.raises(SettingError, match=f"weights: '{file}' holds no weights of this backbone"):
            build_network(config("transfer", weights=str(file)), SHAPE, 7)


def test_images_too_small_for_a_net_are_an_error() -> None:
    with pytest.raises(SettingError, match="image_size: 8x8 is too small for resnet, expected 16 or more"):
        build_network(config("resnet"), (3, 8, 8), 10)


def test_a_seed_and_an_initialisation_decide_the_weights() -> None:
    def weights(seed: int, initialisation: str) -> torch.Tensor:
        torch.manual_seed(seed)
        network = build_network(replace(config("cnn"), initialisation=initialisation), SHAPE, 10)
        return next(network.parameters()).detach()

    assert torch.equal(weights(1, "he"), weights(1, "he"))
    assert not torch.equal(weights(1, "he"), weights(2, "he"))
    assert weights(1, "he").std() > 1.5 * weights(1, "glorot").std()


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("outputs", "inputs"), [(8, 4), (4, 8), (6, 6)])
def test_the_first_filters_of_each_part_pass_its_inputs_on(parts: int, outputs: int, inputs: int) -> None:
    filters, x = torch.randn(outputs, inputs, 3, 3), torch.randn(2, inputs, 5, 5)
    pass_on(filters, parts)
    answers = torch.nn.functional.conv2d(x, filters, padding=1)
    for passed, given in zip(answers.chunk(parts, 1), x.chunk(parts, 1), strict=True):
        count = min(passed.shape[1], given.shape[1])
        assert torch.equal(passed[:, :count], given[:, :count])
