"""The optimisers by name, and the schedules of their learning rates."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

OPTIMIZERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "muon")
SCHEDULES = ("constant", "linear", "cosine", "step")
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_MUON_AUXILIARY_RATIO = 0.05


class Muon(Optimizer):
    """Momentum whose update is orthogonalised, for matrices and convolution filters (Jordan et al. 2024).

    Each filter bank, seen as a matrix (out, in x height x width), is kept at a norm of sqrt(out); its
    update has singular values near one, so the learning rate is the relative change of a step. The
    orthogonalisation is the quintic Newton-Schulz iteration of kellerjordan.github.io/posts/muon.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, iterations: int = 3) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "iterations": iterations})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
        update = parameter.grad.add(state["momentum"], alpha=group["momentum"])  # type: ignore[union-attr]
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
        orthogonal = orthogonalise(update.reshape(len(update), -1), group["iterations"])
        parameter.add_(orthogonal.view_as(parameter), alpha=-group["lr"])


def orthogonalise(matrix: Tensor, iterations: int) -> Tensor:
    """The nearest orthogonal matrix, roughly: singular values between 0.5 and 1.5. (rows, columns) -> the same."""
    a, b, c = _NEWTON_SCHULZ
    tall = len(matrix) > matrix.shape[1]
    x: Tensor = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    orthogonal: Tensor = x.T if tall else x
    return orthogonal.to(matrix.dtype)


def build_optimizers(
    name: str, module: nn.Module, learning_rate: float, momentum: float, weight_decay: float
) -> list[Optimizer]:
    """The optimisers that together change every trainable parameter of ``module``.

    Weight decay (L2) applies to matrices and filters, not to biases and norms. ``muon`` takes the
    filters and inner matrices; what it is not made for (biases, norms, the last layer) goes to AdamW
    at a twentieth of its learning rate.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if name == "muon":
        groups[0]["params"] = matrices[-1:]
        auxiliary = AdamW(groups, lr=learning_rate * _MUON_AUXILIARY_RATIO, betas=(0.9, 0.98))
        return [Muon(matrices[:-1], lr=learning_rate, momentum=momentum), auxiliary] if matrices[1:] else [auxiliary]
    kinds: dict[str, Callable[[], Optimizer]] = {
        "adam": lambda: Adam(groups, lr=learning_rate),
        "adamw": lambda: AdamW(groups, lr=learning_rate),
        "sgd": lambda: SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0),
        "adagrad": lambda: Adagrad(groups, lr=learning_rate),
        "rmsprop": lambda: RMSprop(groups, lr=learning_rate, momentum=momentum),
    }
    return [kinds[name]()]


def scale_learning_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set the learning rate of every group to ``factor`` times what it was at first."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def learning_rate_factor(schedule: str, warmup_fraction: float, progress: float) -> float:
    """By what the learning rate is multiplied when ``progress`` of the training, 0 to 1, is done.

    It rises linearly from zero during the warm-up, then stays (``constant``), falls to zero
    (``linear``, ``cosine``), or falls to a tenth after half and three quarters (``step``).
    """
    if progress < warmup_fraction:
        return progress / warmup_fraction
    done = (progress - warmup_fraction) / (1 - warmup_fraction)
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if schedule == "step":
        return 0.1 ** ((done >= 0.5) + (done >= 0.75))
    return 1.0
