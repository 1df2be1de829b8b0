"""A mirrored network gives an image and its mirror image one answer, while it learns and when it is served."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.training.image_classifier.pictures import write_folder
from training.command import Places, build_config
from training.image_classifier.model import ResidualNet, build_network
from training.image_classifier.symmetry import Reflection, keep_symmetric, straighten
from training.image_classifier.train import RECIPES, Config, run
from training.optimizers import OPTIMIZERS, build_optimizers


def build(channels: int, optimizer: str = "muon") -> tuple[ResidualNet, list[torch.optim.Optimizer]]:
    torch.manual_seed(0)
    network = ResidualNet((channels, 32, 32), 5, "gelu", 0.0, widths=(8, 12, 16), mirrored=True)
    network.set_whitening(torch.randn(50, channels, 32, 32).cumsum(3) * 0.3)
    optimizers = build_optimizers(optimizer, network, 0.05, 0.6, 0.0)
    keep_symmetric(network.reflections(), optimizers)
    return network, optimizers


def learn(network: ResidualNet, optimizers: list[torch.optim.Optimizer], channels: int) -> None:
    for _ in range(3):
        logits = network.train()(torch.randn(16, channels, 32, 32))
        torch.nn.functional.cross_entropy(logits, torch.randint(5, (16,))).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_mirror_images_have_one_answer_after_every_step(channels: int, optimizer: str) -> None:
    network, optimizers = build(channels, optimizer)
    images = torch.randn(8, channels, 32, 32)
    before = network.eval()(images)
    learn(network, optimizers, channels)
    after = network.eval()(images)
    assert not torch.allclose(before, after, atol=1e-2)
    torch.testing.assert_close(network(images.flip(3)), after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [16, 21, 28, 33, 47])
def test_mirror_images_of_any_size_have_one_answer(side: int) -> None:
    network, optimizers = build(3)
    learn(network, optimizers, 3)
    images = torch.randn(8, 3, side, side)
    torch.testing.assert_close(network.eval()(images.flip(3)), network(images), rtol=1e-4, atol=1e-4)


def test_a_network_that_is_not_mirrored_tells_mirror_images_apart() -> None:
    torch.manual_seed(0)
    network = ResidualNet((3, 32, 32), 5, "gelu", 0.0, widths=(8, 12, 16))
    images = torch.randn(8, 3, 32, 32)
    network.set_whitening(images)
    learn(network, build_optimizers("muon", network, 0.05, 0.6, 0.0), 3)
    assert not torch.allclose(network.eval()(images.flip(3)), network(images), atol=1e-2)


def test_gradients_keep_to_the_symmetry() -> None:
    network, _ = build(3)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for values, reflection in network.reflections():
        if values.requires_grad:
            assert values.grad is not None
            assert values.grad.abs().sum() > 0
            torch.testing.assert_close(reflection(values.grad), values.grad)


def test_to_reflect_twice_changes_nothing() -> None:
    network, _ = build(3)
    for values, reflection in network.reflections():
        drawn = torch.randn_like(values)
        assert torch.equal(reflection(reflection(drawn)), drawn)


def test_filters_become_their_own_mirror_images_or_the_negatives() -> None:
    even, odd = torch.tensor([[1.0, 1.0], [2.0, 2.01]]), torch.tensor([[1.0, -1.0], [0.5, -0.51]])
    first, second = straighten(torch.stack((even, odd))[:, None])[:, 0]
    assert torch.equal(first.flip(1), first)
    assert torch.equal(second.flip(1), -second)
    assert first.norm() == pytest.approx(float(even.norm()))


def test_a_reflection_exchanges_partners_and_turns_filters_round() -> None:
    filters = torch.arange(2 * 2 * 1 * 3).reshape(2, 2, 1, 3)
    swap, stay = torch.tensor([1, 0]), torch.tensor([0, 1])
    assert Reflection((swap, stay))(filters)[0].tolist() == [[[8, 7, 6]], [[11, 10, 9]]]
    assert Reflection((stay, swap))(filters[:, :, 0, 0]).tolist() == [[3, 0], [9, 6]]


def test_a_network_is_not_mirrored_where_images_are_never_flipped() -> None:
    flipped, never = (
        build_network(build_config(Config, RECIPES, {"flip": flip}), (3, 32, 32), 5) for flip in (True, False)
    )
    assert flipped.mirrored
    assert not never.mirrored


def test_a_version_that_was_trained_mirrored_answers_mirror_images_alike(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "colours", per_class=40)
    given = {"data": str(folder), "epochs": 2, "batch_size": 19, "validation_fraction": 0.2}
    config = build_config(Config, RECIPES, given)
    places = Places(models=tmp_path / "models", cache=tmp_path / "cache", output=tmp_path / "run")
    manifest = run(config, places, resume=False)
    assert manifest is not None
    graph = places.models / "image_classifier" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    answers, mirrored = (session.run(None, {"images": some})[0] for some in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(answers, mirrored, atol=1e-5)
