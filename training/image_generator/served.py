"""The module that is served: noise, label and truncation in, bytes out."""

import torch
from torch import Tensor, nn

from training.image_generator.data import to_levels


class ServedGenerator(nn.Module):
    """Takes ``z`` (batch, latents), ``label`` (batch,) and ``truncation`` (batch,); answers bytes.

    Truncation draws the noise towards its centre, which is the same for all labels: 1 leaves it as it is, less gives
    images that are more typical and less diverse (Brock et al. 2019, arXiv 1809.11096, section 3.1).
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, label: Tensor, truncation: Tensor) -> Tensor:
        """(batch, latents), (batch,), (batch,) -> (batch, height, width, channels) bytes."""
        return (self.levels(z, label, truncation) + 0.5).floor().to(torch.uint8)

    def levels(self, z: Tensor, label: Tensor, truncation: Tensor) -> Tensor:
        """The bytes before they are rounded: (batch, height, width, channels) from 0 to 255."""
        images = self.generator(z * truncation[:, None], label)
        return to_levels(images).permute(0, 2, 3, 1)
