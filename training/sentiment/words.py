"""What the embeddings have learnt about words: which ones are alike, and a map of the most frequent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from training.sentiment.tokenizer import CONTINUATION, SPECIAL_TOKENS

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

# What people say of films, and words that say nothing of it. What a vocabulary lacks gives place to its frequent words.
SHOWN: Final = (
    "excellent",
    "terrible",
    "boring",
    "funny",
    "actor",
    "plot",
    "music",
    "horror",
    "child",
    "war",
    "10",
    "not",
)
MAPPED = 500
NEIGHBOURS = 8
_PERPLEXITY = 30.0
_TINY = 1e-12


@dataclass(frozen=True)
class Neighbours:
    """A word, how often it stands in the training texts, and the words most like it, each with the cosine."""

    word: str
    count: int
    nearest: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class WordMap:
    """Words in the plane: those with embeddings alike stand near each other.

    ``leans`` is the natural logarithm of how many times as frequent a word is in texts of the last class as in others.
    """

    words: Sequence[str]
    positions: NDArray[np.float32]  # (words, 2)
    counts: NDArray[np.int64]  # (words,)
    leans: NDArray[np.float32] | None  # (words,)


def find_words(vocabulary: Sequence[str], counts: Rows) -> Rows:
    """The rows of the tokens that are words, the most frequent first.

    A continuation of a word is none, nor are punctuation, what never stands in the training texts, and a single letter
    of an alphabet: in reviews that begins a rare word more often than it is one.
    """
    words = [row for row, token in enumerate(vocabulary) if counts[row] and _is_word(token)]
    rows = np.array(words, dtype=np.int64)
    return rows[np.argsort(-counts[rows], kind="stable")]


def find_neighbours(
    embeddings: Floats, vocabulary: Sequence[str], counts: Rows, shown: Sequence[str] = SHOWN
) -> list[Neighbours]:
    """The words most like each of ``shown``; in the place of one that is no word here stands a frequent one.

    Args:
        embeddings: (vocabulary, dimensions).
        vocabulary: the token of each row.
        counts: (vocabulary,) how often each stands in the training texts.
        shown: the words.
    """
    candidates = find_words(vocabulary, counts)
    words = [vocabulary[row] for row in candidates]
    present = [word for word in shown if word in words]
    chosen = [*present, *(word for word in words if word not in present)][: len(shown)]
    places = [words.index(word) for word in chosen]
    directions = _normalise(embeddings[candidates])
    cosines = directions[places] @ directions.T  # (shown, candidates)
    cosines[np.arange(len(places)), places] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(words) - 1)]
    return [
        Neighbours(word, int(counts[candidates[place]]), [(words[other], float(row[other])) for other in nearest])
        for word, place, row, nearest in zip(chosen, places, cosines, order, strict=True)
    ]


def map_words(
    embeddings: Floats, vocabulary: Sequence[str], counts: Rows, leans: NDArray[np.float32] | None = None
) -> WordMap:
    """The most frequent words by t-SNE of their cosine distances (van der Maaten and Hinton 2008).

    The arguments are those of :func:`find_neighbours`; ``leans``, (vocabulary,), are those of the map.
    """
    rows = find_words(vocabulary, counts)[:MAPPED]
    return WordMap(
        words=[vocabulary[row] for row in rows],
        positions=_project(_normalise(embeddings[rows])),
        counts=counts[rows],
        leans=None if leans is None else leans[rows],
    )


def _is_word(token: str) -> bool:
    """Whether a token is a word, or looks like one: the beginning of a rare word has no mark."""
    if token in SPECIAL_TOKENS or token.startswith(CONTINUATION):
        return False
    return token.lower() == token.upper() and token.isalnum() if len(token) == 1 else any(map(str.isalnum, token))


def _normalise(vectors: Floats) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: NDArray[np.float32] = (vectors / np.maximum(lengths, _TINY)).astype(np.float32)
    return directions


def _project(directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """(words, dimensions) of length one -> (words, 2)."""
    if len(directions) < 3:
        return directions[:, :2]
    perplexity = min(_PERPLEXITY, (len(directions) - 1) / 3)
    method = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=0)
    positions: NDArray[np.float32] = method.fit_transform(directions)
    return positions
