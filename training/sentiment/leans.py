"""How often tokens stand in the training texts, and in which class they do more than elsewhere."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.sentiment.train import Texts

_PRIOR = 5.0  # texts of either side that every token is taken to stand in, so that rare ones lean little


def count_tokens(texts: "Texts") -> NDArray[np.int64]:
    """How often each token stands in the training texts, unlabelled ones included: (vocabulary,)."""
    return np.bincount(np.concatenate([*texts.train, *texts.unlabelled]), minlength=texts.vocabulary)


def measure_leans(texts: "Texts") -> NDArray[np.float32]:
    """The natural logarithm of how much more often a token stands in training texts of the last class, (vocabulary,).

    Texts are counted, not places, and their number is smoothed.
    """
    last = texts.data.train.labels == len(texts.data.labels) - 1
    shares = []
    for of_class in (last, ~last):
        seen = [np.unique(ids) for ids, wanted in zip(texts.train, of_class, strict=True) if wanted]
        counts = np.bincount(np.concatenate(seen), minlength=texts.vocabulary) + _PRIOR
        shares.append(counts / (len(seen) + 2 * _PRIOR))
    return np.log(shares[0] / shares[1]).astype(np.float32)
