"""What is thought of texts that have no label, which a network learns from beside the labels of others."""

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from training.metrics import fit_weights
from training.sentiment.model import SentimentNetwork
from training.sentiment.ngrams import NgramClassifier
from training.sentiment.predict import predict
from training.sentiment.shards import Shards

if TYPE_CHECKING:
    from training.sentiment.train import Texts


class Teacher:
    """The network as it would be served, and n-grams, whose opinion of a text stays what it is.

    A network that learns what both think together, while much of what it sees is dropped, becomes better than those
    that it learns it from (self-training, Xie et al. 2020, arXiv 1911.04252), n-grams being another view of the same
    texts (co-training, Blum and Mitchell 1998).

    Args:
        ngrams: of the texts with labels, if there are any.
        texts: the unlabelled ones, and those by which it is found how much to believe either of the two.
        shards: that compute.
        accelerator: whose arithmetic is good enough.
    """

    def __init__(
        self, ngrams: NgramClassifier | None, texts: "Texts", shards: Shards, accelerator: Accelerator
    ) -> None:
        self._shards, self._accelerator = shards, accelerator
        self._validation, self._labels = texts.validation, torch.from_numpy(texts.data.validation.labels)
        self._unlabelled = texts.read.take(texts.unlabelled)
        both = (self._validation, self._unlabelled)
        self._said = None if ngrams is None else [predict(ngrams, some, shards) for some in both]

    def believe(self, network: SentimentNetwork, rows: NDArray[np.int64]) -> Tensor:
        """What is thought of some of the unlabelled texts.

        Args:
            network: the one that is evaluated and served.
            rows: (texts,) which are asked for.

        Returns:
            Calibrated probabilities, (unlabelled texts, classes), of all other rows 0.
        """
        asked_for = [self._unlabelled[row] for row in rows]
        validation, asked = (
            [predict(network, some, self._shards, self._accelerator.autocast)] for some in (self._validation, asked_for)
        )
        if self._said is not None:
            validation.append(self._said[0])
            asked.append(self._said[1][rows])
        weights = fit_weights(validation, self._labels)
        logits = torch.stack([weight * said for weight, said in zip(weights, asked, strict=True)]).sum(0)
        beliefs = torch.zeros(len(self._unlabelled), logits.shape[1])
        beliefs[rows] = F.softmax(logits, 1)
        return beliefs
