import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from training.command import build_config
from training.image_classifier.model import ResidualNet, build_network
from training.image_classifier.predict import predict
from training.image_classifier.symmetry import keep_symmetric
from training.image_classifier.train import RECIPES, Config
from training.images import to_tensor


@pytest.mark.parametrize("mirrored", [True, False])
def test_the_answer_over_six_views_is_the_mean_over_shifts_and_mirror_images(mirrored: bool) -> None:
    torch.manual_seed(0)
    network = build_network(build_config(Config, RECIPES, {"mirrored": mirrored}), (3, 32, 32), 5).eval()
    assert isinstance(network, ResidualNet)
    network.set_whitening(torch.randn(50, 3, 32, 32).cumsum(3) * 0.3)
    if mirrored:
        keep_symmetric(network.reflections(), [torch.optim.SGD(network.parameters())])
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    mean, deviation = torch.full((3, 1, 1), 120.0), torch.full((3, 1, 1), 60.0)

    pixels = (to_tensor(images) - mean) / deviation
    padded = F.pad(pixels, (1, 1, 1, 1), mode="reflect")
    shifts = [(pixels, 2), (padded[..., :32, :32], 1), (padded[..., 2:, 2:], 1)]
    with torch.no_grad():
        expected = sum(weight * (network(shift) + network(shift.flip(3))) for shift, weight in shifts) / 8
    found = predict(network, images, mean, deviation, views=True)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, predict(network, images, mean, deviation), atol=1e-3)
