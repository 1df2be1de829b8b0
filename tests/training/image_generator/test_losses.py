import math

import pytest
import torch
from torch import Tensor, nn

from training.image_generator.losses import (
    LOSSES,
    discriminator_loss,
    generator_loss,
    lipschitz_penalty,
    match_features,
    zero_centred_penalty,
)
from training.image_generator.model import Verdict


class Plane(nn.Module):
    """Scores that rise by ``slope`` for each pixel."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, images: Tensor, label: Tensor) -> Verdict:
        pixels = images.flatten(1)
        return Verdict(self.slope * pixels.sum(dim=1), pixels, pixels)


@pytest.mark.parametrize(
    ("loss", "against", "toward"),
    [
        ("hinge", 0.5 + 1.25, -0.25),
        ("bce", math.log1p(math.exp(-0.5)) + math.log1p(math.exp(0.25)), math.log1p(math.exp(-0.25))),
        ("wgan-gp", -0.25, -0.25),
        ("relativistic", math.log1p(math.exp(-0.25)), math.log1p(math.exp(0.25))),
    ],
)
def test_losses_are_those_of_their_definitions(loss: str, against: float, toward: float) -> None:
    real, fake = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.25])
    assert discriminator_loss(loss, real, fake, 0.0).item() == pytest.approx(against)
    assert generator_loss(loss, real, fake).item() == pytest.approx(toward)


@pytest.mark.parametrize("loss", LOSSES)
def test_both_sides_gain_where_the_scores_move_their_way(loss: str) -> None:
    low, high = torch.tensor([-0.5]), torch.tensor([0.5])
    assert discriminator_loss(loss, high, low, 0.0) < discriminator_loss(loss, low, high, 0.0)
    assert generator_loss(loss, low, high) < generator_loss(loss, high, low)


def test_smoothed_labels_punish_certainty_about_real_images_alone() -> None:
    sure, fake = torch.tensor([9.0]), torch.tensor([-9.0])
    assert discriminator_loss("bce", sure, fake, 0.1) > discriminator_loss("bce", torch.tensor([2.2]), fake, 0.1)
    assert discriminator_loss("bce", sure, fake, 0.1) > discriminator_loss("bce", sure, -sure, 0.0)


def test_features_match_where_their_means_do() -> None:
    features = torch.tensor([[0.0, 2.0], [4.0, 2.0]])
    assert match_features(features, torch.tensor([[2.0, 2.0]])) == 0
    assert match_features(features, torch.tensor([[2.0, 5.0]])) == 4.5


def test_penalties_are_those_of_a_known_slope() -> None:
    real, fake = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    labels = torch.zeros(3, dtype=torch.int64)
    slope = 0.5 * math.sqrt(16)  # the length of the gradient by sixteen pixels
    found = lipschitz_penalty(Plane(0.5), real, fake, labels, torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx((slope - 1) ** 2, rel=1e-5)
    assert zero_centred_penalty(Plane(0.5), real, labels).item() == pytest.approx(slope**2 / 2, rel=1e-5)
