"""Averages: of a network's weights over the steps of its training, of its gradients over processes."""

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]

_WARMUP_STEPS = 10


def average_weights(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``network`` that follows it as an exponential moving average, statistics of batch norms included.

    The decay rises from a tenth to ``decay`` with the steps, so that the weights from before the training are soon
    forgotten in a short training too; with 0 the copy is the network as of the last step.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(steps)) / (_WARMUP_STEPS + int(steps)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def average_gradients(network: nn.Module, accelerator: Accelerator) -> None:
    """Bring the mean of all processes' gradients to each of them."""
    if accelerator.num_processes > 1:
        for parameter in network.parameters():
            if parameter.requires_grad:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = accelerator.reduce(gradient, "mean")
