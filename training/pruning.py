"""Learn less often from what is known already.

An epoch leaves out by chance a share of those examples whose loss was below the mean when they were last seen, and the
others of them count for the missing, so that the gradient is what it would be on average; the last epochs see all
(InfoBatch, Qin et al. 2024, arXiv 2303.04947).
"""

import torch
from torch import Tensor, nn

LAST_PART = 0.05  # of the epochs, in which nothing is left out


class Pruning(nn.Module):
    """What decides from which examples an epoch learns, as far as a training has come.

    Args:
        count: how many examples there are.
        share: of those with small losses that an epoch leaves out, below one.
    """

    losses: Tensor

    def __init__(self, count: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("losses", torch.full((count,), torch.nan))  # of what was not seen yet

    def draw(self, progress: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The rows of an epoch in random order, and the weights (count,) of all examples in its loss.

        Args:
            progress: the share of the epochs that is done.
            generator: of chance.
        """
        weights = torch.ones(len(self.losses))
        if not self.share or progress >= 1 - LAST_PART:
            return torch.randperm(len(weights), generator=generator), weights
        small = self.losses < self.losses.nanmean()
        left_out = small & (torch.rand(len(weights), generator=generator) < self.share)
        weights[small] = 1 / (1 - self.share)
        rows = (~left_out).nonzero().squeeze(1)
        return rows[torch.randperm(len(rows), generator=generator)], weights

    def update(self, losses: Tensor, seen: Tensor) -> None:
        """Remember the ``losses`` (count,) of the examples that were ``seen`` (count,)."""
        self.losses.copy_(torch.where(seen.bool(), losses, self.losses))
