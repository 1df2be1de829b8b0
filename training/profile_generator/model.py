"""The conditional variational autoencoder of a row of tokens."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

FORBIDDEN = -1e4  # added to a logit: its probability is 0 even in double precision
EMBEDDING_DEVIATION = 0.1
LOG_VARIANCE_BOUND = 8.0


class ProfileNetwork(nn.Module):
    """Encodes a row and its target as a normal distribution of latents, and decodes latents as tokens, one by one.

    The head of each column reads the latents, the target and, if ``autoregressive``, the tokens of the columns before
    it (as in NADE: Larochelle and Murray 2011; a VAE with such a decoder: Chen et al. 2017, arXiv 1611.02731). Tokens
    of all columns stand in one vocabulary; heads are as wide as the widest column, what is too much never comes.
    """

    def __init__(self, sizes: Sequence[int], *, latents: int, width: int, dropout: float, autoregressive: bool) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.latents = latents
        self.autoregressive = autoregressive
        columns, tokens = len(sizes), sum(sizes)
        self.encoder_tokens = nn.Embedding(tokens + 1, width, padding_idx=tokens)
        self.encoder_target = nn.Embedding(2, width)
        self.encoder = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * latents))
        self.decoder_tokens = nn.Embedding(tokens + 1, width, padding_idx=tokens)
        self.decoder_target = nn.Embedding(2, width)
        self.decoder_latents = nn.Sequential(nn.Linear(latents, width), nn.SiLU(), nn.Linear(width, width))
        self.hidden = nn.Parameter(torch.randn(columns, width, width) * width**-0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(columns, 1, width))
        self.logits = nn.Parameter(torch.randn(columns, width, max(sizes)) * width**-0.5)
        self.direct = nn.Parameter(torch.zeros(columns, width, max(sizes)))
        self.logits_bias = nn.Parameter(torch.zeros(columns, 1, max(sizes)))
        self.dropout = nn.Dropout(dropout)
        for embedding in (self.encoder_tokens, self.decoder_tokens):
            nn.init.normal_(embedding.weight, std=EMBEDDING_DEVIATION)
        self.register_buffer("offsets", torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()]))
        excess = torch.arange(max(sizes)) >= torch.tensor(sizes).unsqueeze(1)
        self.register_buffer("excess", (excess * FORBIDDEN).unsqueeze(1))

    offsets: Tensor  # (columns,)
    excess: Tensor  # (columns, 1, widest)

    def forward(self, tokens: Tensor, targets: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits of :meth:`decode` at latents drawn from :meth:`encode`, whose means and log-variances follow."""
        mean, log_variance = self.encode(tokens, targets)
        latents = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decode(latents, targets, tokens, kept), mean, log_variance

    def encode(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, columns), (batch,) -> the means and the log-variances of the latents, (batch, latents) each."""
        row = self.encoder_tokens(self.places(tokens)).sum(dim=1) + self.encoder_target(targets)
        mean, log_variance = self.encoder(row).chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def decode(self, latents: Tensor, targets: Tensor, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """The logits of each column given those before it: (columns, batch, widest).

        ``kept`` (batch, columns) has which tokens later columns may read; none of it: all.
        """
        start = self.decoder_target(targets) + self.decoder_latents(latents)  # (batch, width)
        context = start.unsqueeze(0).expand(len(self.sizes), -1, -1)
        if self.autoregressive:
            read = self.decoder_tokens(self.places(tokens)).transpose(0, 1)  # (columns, batch, width)
            if kept is not None:
                read = read * kept.T.unsqueeze(2)
            context = context + torch.cat((torch.zeros_like(read[:1]), read[:-1].cumsum(dim=0)))
        context = self.dropout(context)
        hidden = self.dropout(F.silu(torch.baddbmm(self.hidden_bias, context, self.hidden)))
        logits = torch.baddbmm(self.logits_bias, hidden, self.logits) + torch.bmm(context, self.direct)
        return logits + self.excess

    def places(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, columns) as places in the common vocabulary; an unknown one reads as nothing."""
        return torch.where(tokens < 0, self.decoder_tokens.num_embeddings - 1, tokens + self.offsets)

    def decoder_parameters(self) -> int:
        """How many numbers of the decoder are learnt: what is served."""
        learnt = self.named_parameters()
        return sum(parameter.numel() for name, parameter in learnt if not name.startswith("encoder"))


def forbidden_logits(
    pairs: Mapping[tuple[int, int], NDArray[np.bool_]], targets: Tensor, tokens: Tensor, widest: int
) -> Tensor:
    """What is added to the logits of each column where rules forbid a token: (columns, batch, widest).

    ``pairs`` number the target 0 and then the columns of ``tokens`` (batch, columns).
    """
    rows = torch.cat((targets.unsqueeze(1), tokens), dim=1).numpy()
    added = np.zeros((rows.shape[1] - 1, len(rows), widest), dtype=np.float32)
    for (early, late), mask in pairs.items():
        known = rows[:, early] >= 0
        masked = mask[np.where(known, rows[:, early], 0)] & known[:, np.newaxis]
        added[late - 1, :, : mask.shape[1]] += masked * np.float32(FORBIDDEN)
    return torch.from_numpy(added)
