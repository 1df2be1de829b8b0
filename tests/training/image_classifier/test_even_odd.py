"""A mirrored network that learns in half of the multiplications learns the same."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tests.training.image_classifier.pictures import write_folder
from training.command import Places, build_config
from training.errors import SettingError
from training.hardware import can_compile
from training.image_classifier import train
from training.image_classifier.even_odd import convolve
from training.image_classifier.model import ResidualNet
from training.image_classifier.symmetry import Reflection, keep_symmetric, pair_halves
from training.image_classifier.train import LONG, RECIPES, Config, is_worth_compiling, run

CPU = torch.device("cpu")


def config(**given: object) -> Config:
    return build_config(Config, RECIPES, given)


def build(side: int, activation: str) -> ResidualNet:
    torch.manual_seed(0)
    network = ResidualNet((3, side, side), 5, activation, 0.0, widths=(8, 12, 16), mirrored=True).double()
    network.set_whitening(torch.randn(50, 3, side, side))
    with torch.no_grad():
        for values, _ in network.reflections():
            values.add_(torch.rand_like(values))
    keep_symmetric(network.reflections(), [torch.optim.SGD(network.parameters())])
    return network


def learn(network: ResidualNet, images: Tensor, *, in_halves: bool) -> dict[str, Tensor]:
    """All that a step leaves behind: answers, gradients, statistics."""
    network.learns_in_halves = in_halves
    answers = network.train()(images)
    F.cross_entropy(answers, torch.arange(len(images)) % 5).backward()  # type: ignore[no-untyped-call]
    gradients = {f"gradient of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    statistics = {name: values for name, values in network.named_buffers() if "running" in name}
    return {"answers": answers, **gradients, **statistics}


@pytest.mark.parametrize("side", [32, 28, 21])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_answers_gradients_and_statistics_are_those_of_an_ordinary_step(side: int, activation: str) -> None:
    images = torch.randn(6, 3, side, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64)
    expected = learn(build(side, activation), images, in_halves=False)
    with torch.compiler.set_stance("force_eager"):
        found = learn(build(side, activation), images, in_halves=True)
    assert len(expected) == 1 + 20 + 18
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.allclose(found[name], values, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_both_parts_together_are_the_convolution(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    reflection = Reflection((pair_halves(6, CPU), pair_halves(4, CPU)))
    filters = torch.randn(6, 4, 3, 3, generator=generator)
    filters = filters + reflection(filters)
    x = torch.randn(2, 4, 5, width, generator=generator)
    with torch.compiler.set_stance("force_eager"):
        even, odd = convolve(x.permute(2, 0, 3, 1).chunk(2, 3), filters)  # type: ignore[arg-type]
    found = torch.cat((even + odd, even - odd), 3).permute(1, 3, 0, 2)
    torch.testing.assert_close(found, F.conv2d(x, filters, padding=1), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks at it
def test_a_compiled_training_adds_a_version_that_is_right(tmp_path: Path) -> None:
    if not can_compile():
        pytest.skip("PyTorch can compile nothing here")
    folder = write_folder(tmp_path / "colours", per_class=40)
    asked = config(data=str(folder), epochs=2, batch_size=19, validation_fraction=0.2, compiled="yes")
    manifest = run(asked, Places(tmp_path / "models", tmp_path / "cache", tmp_path / "run"), resume=False)
    assert manifest is not None
    assert isinstance(manifest.metrics["accuracy"], float)
    assert manifest.metrics["accuracy"] > 0.9


def test_only_a_long_training_on_a_cpu_is_compiled_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "can_compile", lambda: True)
    monkeypatch.setattr(train, "has_matrix_units", lambda: False)
    assert is_worth_compiling(config(epochs=10), LONG // 10, CPU)
    assert not is_worth_compiling(config(epochs=10), LONG // 10 - 1, CPU)
    assert not is_worth_compiling(config(epochs=10), LONG // 10, torch.device("cuda"))
    assert not is_worth_compiling(config(epochs=10, compiled="no"), LONG // 10, CPU)
    assert is_worth_compiling(config(epochs=1, compiled="yes"), 100, CPU)
    monkeypatch.setattr(train, "has_matrix_units", lambda: True)
    assert not is_worth_compiling(config(epochs=10), LONG // 10, CPU)


def test_to_ask_for_what_cannot_be_compiled_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "can_compile", lambda: False)
    assert not is_worth_compiling(config(epochs=10), LONG // 10, CPU)
    with pytest.raises(SettingError, match=r"compiled: .* expected a C\+\+ compiler"):
        is_worth_compiling(config(compiled="yes"), 100, CPU)
    with pytest.raises(SettingError, match="compiled: yes on cuda, expected auto or no there"):
        is_worth_compiling(config(compiled="yes"), 100, torch.device("cuda"))
