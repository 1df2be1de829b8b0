from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.image_classifier.convolution import Convolution, convolve


@pytest.mark.parametrize("batch", [1, 6, 16])
@pytest.mark.parametrize(("height", "width"), [(3, 3), (7, 7), (2, 5), (5, 1)])
def test_answers_and_gradients_are_those_of_a_convolution(batch: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 5, height, width, generator=generator, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(4, 5, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    outer = torch.randn(batch, 4, height, width, generator=generator, dtype=torch.float64)

    def ask(function: Callable[..., Tensor], **arguments: int) -> tuple[Tensor, ...]:
        answer = function(x, filters, **arguments)
        return answer, *torch.autograd.grad(answer, (x, filters), outer)

    for own, reference in zip(ask(convolve), ask(F.conv2d, padding=1), strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", [7, 15])
def test_a_layer_learns_the_same_with_matrix_units_and_without(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    x = torch.randn(16, 8, side, side, generator=torch.Generator().manual_seed(0))
    gradients = []
    for has_units in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has_units=has_units: {"amx_bf16": has_units})
        torch.manual_seed(0)
        layer = Convolution(8, 16)
        with torch.autocast("cpu", torch.bfloat16):
            answer = layer(x)
        answer.float().square().sum().backward()
        assert (type(answer.grad_fn).__name__ == "_ConvolveBackward") == (has_units and side == 7)
        assert (answer.dtype, layer.weight.dtype) == (torch.bfloat16, torch.float32)
        assert layer.weight.grad is not None
        gradients.append(layer.weight.grad)
    difference = (gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max()
    assert difference < 0.01  # a gradient is rounded to the eight bits of bfloat16


def test_a_layer_is_an_ordinary_convolution_where_it_does_not_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    layer, x = Convolution(3, 4), torch.randn(2, 3, 7, 7)
    expected = F.conv2d(x, layer.weight, padding=1)
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer.eval()(x), expected)
    program = torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    assert program is not None
    assert {node.op_type for node in program.model.graph} == {"Conv"}
