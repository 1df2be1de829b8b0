"""The networks that read a text: token ids in, logits of the classes out."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.text import TokenIds


class Architecture(NamedTuple):
    """A recurrent cell, and how many ways it reads: forwards, or forwards and backwards."""

    cell: type[nn.LSTM] | type[nn.GRU]
    directions: int


ARCHITECTURES: Final = {
    "lstm": Architecture(nn.LSTM, 1),
    "bilstm": Architecture(nn.LSTM, 2),
    "gru": Architecture(nn.GRU, 2),
}
POOLINGS: Final = ("last", "max", "mean", "concat", "attention")


class Ends(NamedTuple):
    """How many tokens are read of a text: its first and its last ones."""

    head: int
    tail: int

    def take(self, texts: Sequence[TokenIds]) -> list[TokenIds]:
        """Those of texts."""
        return [
            ids if len(ids) <= self.head + self.tail else np.concatenate([ids[: self.head], ids[-self.tail :]])
            for ids in texts
        ]


class Reader(nn.Module):
    """Embedding and recurrent layers: what a language model and a classifier have in common.

    Each direction has layers of its own; the second reads each text from its last token to its first.

    Args:
        architecture: a name in ARCHITECTURES.
        vocabulary: the tokens.
        dimensions: of a token's embedding.
        hidden: units of each layer in each direction.
        layers: recurrent layers, one on the other.
        dropout: the share of values dropped between layers.
    """

    def __init__(
        self, architecture: str, vocabulary: int, dimensions: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        cell, directions = ARCHITECTURES[architecture]
        self.embedding = nn.Embedding(vocabulary, dimensions, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=dimensions**-0.5)
        with torch.no_grad():
            self.embedding.weight[0] = 0.0
        dropout = dropout if layers > 1 else 0.0
        cells = [cell(dimensions, hidden, layers, batch_first=True, dropout=dropout) for _ in range(directions)]
        for direction in cells:
            _initialise(direction)
        self.directions = nn.ModuleList(cells)
        self.features = hidden * directions

    def read(self, vectors: Tensor, lengths: Tensor, direction: int) -> Tensor:
        """The states of one direction in its own order: (batch, sequence, dimensions) -> (batch, sequence, hidden).

        Padding stands behind every text in either order, so no state of a text has seen it.
        """
        states: Tensor = self.directions[direction](vectors if direction == 0 else reverse(vectors, lengths))[0]
        return states


class SentimentNetwork(nn.Module):
    """Reads a text and says which class it is of.

    Args:
        reader: embedding and recurrent layers.
        pooling: how the states of all tokens become one vector; a name in POOLINGS. ``last`` takes each direction's
            last state, ``concat`` joins last, max and mean (Howard and Ruder 2018, arXiv 1801.06146).
        classes: how many.
    """

    def __init__(self, reader: Reader, pooling: str, classes: int) -> None:
        super().__init__()
        self.reader = reader
        self.pooling = pooling
        self.attention = nn.Linear(reader.features, 1) if pooling == "attention" else None
        features = reader.features * (3 if pooling == "concat" else 1)
        self.mean, self.deviation = nn.Buffer(torch.zeros(features)), nn.Buffer(torch.ones(features))
        self.classifier = nn.Linear(features, classes)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Logits: (batch, sequence) padded behind with 0 -> (batch, classes)."""
        return self.classify(self.reader.embedding(token_ids), (token_ids != 0).sum(1))

    def classify(self, vectors: Tensor, lengths: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits, (batch, classes), from embeddings.

        Args:
            vectors: (batch, sequence, dimensions).
            lengths: (batch,), how many of the vectors belong to each text.
            keep: (batch, pooled features), what pooled values are multiplied by: dropout, drawn by the caller.
        """
        return self.answer(*self._read_all(vectors, lengths), keep)

    def answer(self, states: Sequence[Tensor], last: Tensor, present: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits from states.

        Args:
            states: of each direction, (batch, sequence, hidden); in the order of the text where there is attention.
            last: (batch, features), the last state of each direction.
            present: (batch, sequence), False where there is padding.
            keep: as of :meth:`classify`.
        """
        pooled = (self.pool(states, last, present) - self.mean) / self.deviation
        logits: Tensor = self.classifier(pooled if keep is None else pooled * keep)
        return logits

    def set_scale(self, pooled: Tensor) -> None:
        """Let pooled values have a mean of 0 and a deviation of 1 from here on, by those of some texts.

        After pre-training they vary by a tenth or less, and a classifier of them would long see next to nothing.

        Args:
            pooled: (texts, pooled features), from :meth:`pool_texts`.
        """
        self.mean.copy_(pooled.mean(0))
        self.deviation.copy_(pooled.std(0).clamp_min(1e-3))

    @torch.no_grad()
    def round_embeddings(self) -> None:
        """Round embeddings to half precision: a graph keeps them so, as they are most of what it would weigh."""
        weight = self.reader.embedding.weight
        weight.copy_(weight.half())

    def pool_texts(self, token_ids: Tensor) -> Tensor:
        """The pooled values of texts, (batch, sequence) padded behind with 0 -> (batch, pooled features)."""
        return self.pool(*self._read_all(self.reader.embedding(token_ids), (token_ids != 0).sum(1)))

    def pool(self, states: Sequence[Tensor], last: Tensor, present: Tensor) -> Tensor:
        """One vector for each text, in single precision; the arguments are those of :meth:`answer`."""
        if self.pooling == "last":
            return last
        if self.attention is not None:
            joined = torch.cat(list(states), 2).float()
            scores = self.attention(joined).squeeze(2).masked_fill(~present, -1e4)
            return (F.softmax(scores, 1)[:, None] @ joined).squeeze(1)
        if self.pooling == "max":
            return _max(states, present)
        if self.pooling == "mean":
            return _mean(states, present)
        return torch.cat([last, _max(states, present), _mean(states, present)], 1)

    def _read_all(self, vectors: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The states of all directions, as :meth:`answer` takes them."""
        states = [self.reader.read(vectors, lengths, direction) for direction in range(len(self.reader.directions))]
        last = torch.cat([own[torch.arange(len(lengths)), lengths - 1] for own in states], 1).float()
        if self.attention is not None:  # the one pooling that the order matters to
            states[1:] = [reverse(own, lengths) for own in states[1:]]
        return states, last, torch.arange(vectors.shape[1], device=lengths.device) < lengths[:, None]


class LanguageModel(nn.Module):
    """Predicts each next token of a text, in each direction that the reader reads.

    The output layer is the embedding itself (Press and Wolf 2017, arXiv 1608.05859); its bias begins at the logarithm
    of how often each token stands in the texts, so that what is left to learn is the context.

    Args:
        reader: embedding and recurrent layers.
        counts: (vocabulary,), how often each token stands in the texts.
    """

    def __init__(self, reader: Reader, counts: Tensor) -> None:
        super().__init__()
        self.reader = reader
        hidden = reader.features // len(reader.directions)
        dimensions = reader.embedding.embedding_dim
        self.projections = nn.ModuleList(nn.Linear(hidden, dimensions) for _ in reader.directions)
        self.bias = nn.Parameter((counts.clamp_min(1) / counts.sum()).log().float())


def reverse(values: Tensor, lengths: Tensor) -> Tensor:
    """The first ``lengths``, (batch,), of ``values``, (batch, sequence, ...), last to first; the rest stays behind."""
    places = torch.arange(values.shape[1], device=values.device).expand(len(values), -1)
    turned = lengths[:, None] - 1 - places
    places = torch.where(turned >= 0, turned, places)
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))


def _max(states: Sequence[Tensor], present: Tensor) -> Tensor:
    # States are in -1 to 1, so that padding is never the largest. To add is faster than to fill by a mask.
    lower = (~present[:, :, None]).to(states[0].dtype) * -4.0
    return torch.cat([(own + lower).amax(1) for own in states], 1).float()


def _mean(states: Sequence[Tensor], present: Tensor) -> Tensor:
    kept, count = present[:, :, None].to(states[0].dtype), present.sum(1, keepdim=True).clamp_min(1)
    return torch.cat([(own * kept).sum(1, dtype=torch.float32) for own in states], 1) / count


def _initialise(direction: nn.LSTM | nn.GRU) -> None:
    """Orthogonal recurrent weights, and an LSTM's forget gates open (Jozefowicz et al. 2015).

    Embeddings are small, as they are an output layer too; input weights are large enough for gates to move yet.
    """
    hidden = direction.hidden_size
    for name, parameter in direction.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.normal_(parameter, std=0.5 if name.endswith("_l0") else hidden**-0.5)
        elif name.startswith("weight_hh"):
            for gate in parameter.data.chunk(len(parameter) // hidden):
                nn.init.orthogonal_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(direction, nn.LSTM) and name.startswith("bias_ih"):
                parameter.data[hidden : 2 * hidden] = 1.0
