"""What a network says of texts, and what is served: the network, and beside it a classifier of n-grams."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from models.text import TokenIds
from training.sentiment.batches import measure_lengths, pad, sort_batches
from training.sentiment.model import SentimentNetwork
from training.sentiment.ngrams import NgramClassifier
from training.sentiment.shards import Shards

BATCH_SIZE = 64


class ServedNetwork(nn.Module):
    """Token ids to calibrated probabilities, and to the logits that they come from.

    Args:
        network: token ids to logits, with embeddings that half precision holds.
        network_weight: by which these are multiplied.
        ngrams: what has its say beside the network, if there is any.
        ngrams_weight: by which its logits are multiplied.
    """

    def __init__(
        self,
        network: SentimentNetwork,
        network_weight: float,
        ngrams: NgramClassifier | None = None,
        ngrams_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.network_weight = network_weight
        self.ngrams = ngrams
        self.ngrams_weight = ngrams_weight

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, sequence) padded behind with 0 -> twice (batch, classes)."""
        return self.answer(self.network(token_ids.long()), token_ids)

    def answer(self, logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and logits, twice (batch, classes), from the network's logits and the token ids."""
        logits = logits * self.network_weight
        if self.ngrams is not None:
            logits = logits + self.ngrams(token_ids.long()) * self.ngrams_weight
        return F.softmax(logits, 1), logits


def predict(
    classifier: nn.Module,
    texts: Sequence[TokenIds],
    shards: Shards,
    arithmetic: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Tensor:
    """The logits of ``classifier`` for each text, (texts, classes), computed on its device.

    Args:
        classifier: token ids to logits.
        texts: token ids.
        shards: that compute.
        arithmetic: in which, single precision or an autocast.
    """
    classifier.eval()
    device = next(chain(classifier.parameters(), classifier.buffers())).device
    batches = sort_batches(measure_lengths(texts), BATCH_SIZE)

    def answer(rows: NDArray[np.int64]) -> Tensor:
        with torch.no_grad(), arithmetic():  # of each thread its own
            logits: Tensor = classifier(pad([texts[row] for row in rows]).to(device))
            return logits.float().cpu()

    answers = torch.cat(shards.run(answer, batches))
    return answers[torch.from_numpy(np.argsort(np.concatenate(batches)))]
