"""The worst small change of a text's embeddings, and the losses that a network learns to bear it by."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Classify = Callable[[Tensor], Tensor]  # embeddings (batch, sequence, dimensions) to logits (batch, classes)

# How far the step goes from which the direction is taken, in deviations of embeddings.
_PROBE = 0.1


def perturb_by_label(gradient: Tensor, size: float) -> Tensor:
    """The change of norm ``size`` for each text that raises its loss most, to first order.

    Source: Miyato et al. 2017 (arXiv 1605.07725), equation 5.

    Args:
        gradient: of the loss by the embeddings, (batch, sequence, dimensions).
        size: of the change.
    """
    return _scale(gradient, size)


def virtual_adversarial_loss(
    classify: Classify, vectors: Tensor, present: Tensor, size: float, deviation: float, generator: torch.Generator
) -> Tensor:
    """How far the worst small change moves what the network says of each text, as a Kullback-Leibler divergence.

    No label is needed. The direction is found by one power iteration. Source: Miyato et al. 2017 (arXiv 1605.07725),
    equations 6 to 8.

    Args:
        classify: embeddings to logits, the same for the same embeddings.
        vectors: embeddings, (batch, sequence, dimensions), that gradients flow to.
        present: (batch, sequence), False where there is padding.
        size: the norm of the change of a text.
        deviation: of embeddings; the unit of the first step.
        generator: draws the first direction.

    Returns:
        The mean over texts.
    """
    with torch.no_grad():
        beliefs = F.log_softmax(classify(vectors), 1)
    start = torch.randn(vectors.shape, generator=generator, device=vectors.device) * present[:, :, None]
    probe = _scale(start, _PROBE * deviation * vectors.shape[2] ** 0.5).requires_grad_()
    divergence = _divergence(beliefs, classify(vectors.detach() + probe))
    (direction,) = torch.autograd.grad(divergence, probe)
    return _divergence(beliefs, classify(vectors + _scale(direction, size)))


def _divergence(beliefs: Tensor, logits: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(logits, 1), beliefs, reduction="batchmean", log_target=True)


def _scale(change: Tensor, size: float) -> Tensor:
    """``change`` brought to a norm of ``size`` for each text, (batch, sequence, dimensions)."""
    norm = change.flatten(1).float().norm(dim=1).clamp_min(1e-20)
    scaled: Tensor = change * (size / norm)[:, None, None]
    return scaled.detach()
