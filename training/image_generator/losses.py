"""What generator and discriminator minimise. Scores are (batch,), higher where an image looks more real."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

LOSSES = ("hinge", "bce", "wgan-gp", "relativistic")


def discriminator_loss(loss: str, real: Tensor, fake: Tensor, label_smoothing: float) -> Tensor:
    """The discriminator's loss on scores of real and of generated images.

    Args:
        loss: ``hinge`` (Lim and Ye 2017, arXiv 1705.02894), ``bce`` (Goodfellow et al. 2014), ``wgan-gp`` (Gulrajani
            et al. 2017, without its penalty), or ``relativistic``, on pairs (Jolicoeur-Martineau 2019, arXiv
            1807.00734).
        real: scores of real images.
        fake: scores of generated ones of the same labels.
        label_smoothing: ``bce``: by how much less than certain real images are called real, and these alone
            (Salimans et al. 2016, arXiv 1606.03498, section 3.4).
    """
    if loss == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if loss == "bce":
        wanted = torch.full_like(real, 1 - label_smoothing)
        return F.binary_cross_entropy_with_logits(real, wanted) + F.softplus(fake).mean()
    return fake.mean() - real.mean() if loss == "wgan-gp" else F.softplus(fake - real).mean()


def generator_loss(loss: str, real: Tensor, fake: Tensor) -> Tensor:
    """The generator's loss, by the same names; ``bce`` is the one that does not saturate."""
    if loss == "bce":
        return F.softplus(-fake).mean()
    return F.softplus(real - fake).mean() if loss == "relativistic" else -fake.mean()


def match_features(real: Tensor, fake: Tensor) -> Tensor:
    """How far the means of features (batch, features) lie apart, squared (Salimans et al. 2016, section 3.1)."""
    return (real.mean(dim=0) - fake.mean(dim=0)).square().mean()


def lipschitz_penalty(
    discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """How far from one the score's slope is, between real and generated images (Gulrajani et al. 2017)."""
    share = torch.rand(len(real), 1, 1, 1, generator=generator).to(real.device)
    slopes = _slopes(discriminator, torch.lerp(real, fake, share), labels)
    return (slopes.sqrt() - 1).square().mean()


def zero_centred_penalty(discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """How steep the score is at ``images``: R1 at real ones, R2 at generated ones (Mescheder et al. 2018)."""
    return _slopes(discriminator, images, labels).mean() / 2


def _slopes(discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The squared length of the score's gradient by each image, (batch,)."""
    images = images.detach().requires_grad_()
    score = discriminator(images, labels).score.sum()
    (gradient,) = torch.autograd.grad(score, images, create_graph=True)
    # A root has no slope at zero, and a score that does not depend on the image has none.
    return gradient.square().sum(dim=(1, 2, 3)) + 1e-12
