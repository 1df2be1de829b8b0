"""What a network says of texts, and the network as it is served."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from models.text import TokenIds
from training.sentiment.batches import pad, sort_batches
from training.sentiment.model import SentimentNetwork
from training.sentiment.shards import Shards

BATCH_SIZE = 64


class ServedNetwork(nn.Module):
    """Token ids to calibrated probabilities, and to the logits that they come from.

    Args:
        network: token ids to logits.
        temperature: by which logits are divided.
    """

    def __init__(self, network: SentimentNetwork, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, sequence) padded behind with 0 -> twice (batch, classes)."""
        logits = self.network(token_ids.long()) / self.temperature
        return F.softmax(logits, 1), logits


def predict(network: nn.Module, texts: Sequence[TokenIds], shards: Shards) -> Tensor:
    """The logits of ``network`` for each text, (texts, classes), in single precision; on its device."""
    network.eval()
    device = next(network.parameters()).device
    batches = sort_batches(np.array([len(text) for text in texts]), BATCH_SIZE)

    def answer(rows: NDArray[np.int64]) -> Tensor:
        with torch.no_grad():  # of each thread its own
            logits: Tensor = network(pad([texts[row] for row in rows]).to(device))
            return logits.cpu()

    answers = torch.cat(shards.run(answer, batches))
    return answers[torch.from_numpy(np.argsort(np.concatenate(batches)))]
