"""A linear classifier of n-grams, which has its say beside the network.

The words and phrases of a review, each weighed by how much more often it stands in texts of a class, tell nearly as
much as a recurrent network does, and err elsewhere (Wang and Manning 2012, "Baselines and Bigrams"; as part of an
ensemble Mesnil et al. 2015, arXiv 1412.5335).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from models.text import TokenIds
from training.sentiment.batches import pad

_PRIME = 2_147_483_647  # the largest below 2^31, so that products of two 31-bit numbers fit 64 bits
_MULTIPLIER = 1_000_003
_SMOOTHING = 1.0  # texts of each class that every n-gram is taken to stand in
_BATCH_SIZE = 256
_LARGEST_ROOT = 127  # of eight bits


class NgramClassifier(nn.Module):
    """The sum of the weights of the n-grams that a text has, each counted once, by the root of how many they are.

    Without the root it would be the surer of a text the longer that is, and be right no more often.

    A token has a bucket of its own, longer n-grams share the rest by a hash (Weinberger et al. 2009, arXiv 0902.2206).
    Weights are kept in eight bits, in which training and service compute alike, as the signed roots of their share of
    the largest: most of them are small, and are many to a text.

    Args:
        weight: (buckets, classes), of which the first row is that of padding; of two classes (buckets, 1), the second
            one's, whose negative the first one's is.
        bias: (classes,).
        vocabulary: the tokens, whose ids are the first buckets.
        longest: the tokens of the longest n-gram.
    """

    def __init__(self, weight: Tensor, bias: Tensor, vocabulary: int, longest: int) -> None:
        super().__init__()
        largest = weight.abs().amax(0).clamp_min(torch.finfo(torch.float32).tiny)
        roots = weight.sign() * (weight.abs() / largest).sqrt()
        self.root = nn.Buffer((roots * _LARGEST_ROOT).round().to(torch.int8))
        self.scale = nn.Buffer(largest.float() / _LARGEST_ROOT**2)
        self.bias = nn.Buffer(bias.float())
        self.vocabulary = vocabulary
        self.longest = longest

    def forward(self, token_ids: Tensor) -> Tensor:
        """Logits: (batch, sequence) int64, padded behind with 0 -> (batch, classes)."""
        buckets = find_buckets(token_ids, self.vocabulary, len(self.root), self.longest).sort(1).values
        first = torch.cat([torch.ones_like(buckets[:, :1], dtype=torch.bool), buckets[:, 1:] != buckets[:, :-1]], 1)
        roots = self.root[buckets].float() * first[:, :, None]
        count = (first & (buckets != 0)).sum(1, keepdim=True).clamp_min(1)
        evidence = (roots * roots.abs()).sum(1) * self.scale / count.float().sqrt()
        if len(self.scale) == 1:
            evidence = torch.cat([-evidence, evidence], 1)
        return evidence + self.bias


def count_columns(classes: int) -> int:
    """How many weights a bucket has: one for each class, or a single one for two."""
    return 1 if classes == 2 else classes


def find_buckets(token_ids: Tensor, vocabulary: int, buckets: int, longest: int) -> Tensor:
    """The bucket of each n-gram of 1 to ``longest`` tokens; 0 for what reaches into padding.

    Args:
        token_ids: (batch, sequence) int64, padded behind with 0.
        vocabulary: the tokens, whose ids are the first buckets.
        buckets: how many there are.
        longest: the tokens of the longest n-gram.

    Returns:
        (batch, longest * sequence) int64.
    """
    found, hashes = [token_ids], token_ids
    for _ in range(1, longest):
        # A text of a single token has no pair of them: padding follows it.
        token_ids = torch.cat([token_ids[:, 1:], torch.zeros_like(token_ids[:, :1])], 1)
        hashes = (hashes * _MULTIPLIER + token_ids) % _PRIME
        found.append(torch.where(token_ids == 0, 0, vocabulary + hashes % (buckets - vocabulary)))
    return torch.cat(found, 1)


def fit_ngrams(
    texts: Sequence[TokenIds],
    labels: NDArray[np.int64],
    classes: int,
    *,
    vocabulary: int,
    longest: int,
    weights: int,
    regularisation: float,
) -> NgramClassifier:
    """The classifier of each class against the others: a logistic regression on log-count ratios.

    Args:
        texts: token ids, as they are read.
        labels: (texts,).
        classes: how many, of each of which there is a text.
        vocabulary: the tokens.
        longest: the tokens of the longest n-gram.
        weights: how many n-grams share by their hashes, over all classes; for each more than tokens.
        regularisation: the inverse of the penalty on squared weights, C of LIBLINEAR.
    """
    columns = count_columns(classes)
    buckets = weights // columns
    present = _count(texts, vocabulary, buckets, longest)
    roots = np.sqrt(np.maximum(np.diff(present.indptr), 1)).astype(np.float32)[:, None]
    weight, bias = np.zeros((buckets, columns), np.float32), np.zeros(classes, np.float32)
    for column in range(columns):
        label = 1 if classes == 2 else column
        of_class = labels == label
        ratios = _log_count_ratios(present, of_class)
        model = LogisticRegression(C=regularisation, solver="liblinear")
        model.fit(present.multiply(ratios).multiply(1 / roots).tocsr(), of_class)
        weight[:, column], bias[label] = model.coef_[0] * ratios, model.intercept_[0]
    if classes == 2:
        weight *= 0.5
        bias = np.array([-0.5, 0.5], np.float32) * bias[1]
    weight[0] = 0.0
    return NgramClassifier(torch.from_numpy(weight), torch.from_numpy(bias), vocabulary, longest)


def _count(texts: Sequence[TokenIds], vocabulary: int, buckets: int, longest: int) -> csr_matrix:
    """Which buckets each text has, as ones: (texts, buckets)."""
    columns = []
    for start in range(0, len(texts), _BATCH_SIZE):
        found = find_buckets(pad(texts[start : start + _BATCH_SIZE]), vocabulary, buckets, longest).numpy()
        columns += [row[row > 0] for row in map(np.unique, found)]
    ends = np.cumsum([0, *map(len, columns)])
    ones = np.ones(ends[-1], np.float32)
    return csr_matrix((ones, np.concatenate(columns), ends), shape=(len(texts), buckets))


def _log_count_ratios(present: csr_matrix, of_class: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How much larger a bucket's share is among those of a class than among those of the others, (buckets,)."""
    shares = []
    for rows in (of_class, ~of_class):
        counts = np.asarray(present[rows].sum(0)).ravel() + _SMOOTHING
        shares.append(counts / counts.sum())
    ratios: NDArray[np.float32] = np.log(shares[0] / shares[1]).astype(np.float32)
    return ratios
