"""What a network answers for images, and the module that is served."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from training.image_classifier.model import ResidualNet
from training.images import Images, to_tensor

BATCH = 500


class ServedNetwork(nn.Module):
    """Raw pixels in, calibrated probabilities out: what is exported.

    Takes ``images``, bytes (batch, height, width, channels), and answers probabilities (batch, classes). The
    temperature makes confidence agree with accuracy (Guo et al. 2017, arXiv 1706.04599).
    """

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    mean: Tensor
    deviation: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """(batch, height, width, channels) bytes -> (batch, classes) probabilities."""
        # Contiguous, since the exporter writes some layers of channels-last pixels as many more operators.
        pixels = (images.permute(0, 3, 1, 2).contiguous().float() - self.mean) / self.deviation
        return F.softmax(self.network(pixels) / self.temperature, dim=1)


@torch.no_grad()
def predict(network: nn.Module, images: Images, mean: Tensor, deviation: Tensor, *, views: bool = False) -> Tensor:
    """Logits (count, classes) in single precision on the CPU, computed where ``mean`` is.

    With ``views`` they are the mean over six views of each image: itself at half the weight, shifted by a pixel up-left
    and down-right at a quarter each, and the mirror images of these (Jordan 2024, section 3.5). Of a network that is
    mirrored the latter are not asked for, since their answers are known.
    """
    network.eval()
    answers: list[Tensor] = []
    for part in to_tensor(images).split(BATCH):  # type: ignore[no-untyped-call]
        batch = (part.to(mean.device) - mean) / deviation
        answers.append((_over_views(network, batch) if views else network(batch)).float().cpu())
    return torch.cat(answers)


def _over_views(network: nn.Module, batch: Tensor) -> Tensor:
    padded = F.pad(batch, (1, 1, 1, 1), mode="reflect")
    views = [(batch, 0.5), (padded[..., :-2, :-2], 0.25), (padded[..., 2:, 2:], 0.25)]
    if not (isinstance(network, ResidualNet) and network.mirrored):
        views = [(image, weight / 2) for view, weight in views for image in (view, view.flip(-1))]
    return sum((weight * network(view) for view, weight in views), torch.zeros(()))
