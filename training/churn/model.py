"""The network: numbers in piecewise-linear pieces, categories one by one, and an ensemble of small nets over both."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

_LARGEST = 2**24  # of torch.quantile
_STEP = 1e-6


class RowEncoder(nn.Module):
    """Numbers and categories as features from 0 to 1, by what the training rows say of each column.

    A number is a piece for each of its quantiles, 0 below it, 1 above it and linear in between (Gorishniy et al. 2022,
    "On Embeddings for Numerical Features in Tabular Deep Learning", section 3.2), so that a straight line over the
    pieces is a curve over the number. A category is 1 in its place.

    A value that is missing, or a category that is not known, has a feature of its own where the training rows have
    such; where they have not, its column counts as their mean: it says nothing either way.
    """

    def __init__(self, numbers: Tensor, codes: Tensor, column_of_place: Sequence[int], bins: int) -> None:
        """Take quantiles, means and shares from training rows.

        Args:
            numbers: (rows, numeric columns), NaN where missing.
            codes: (rows, other columns), the place of each category among those of all columns.
            column_of_place: the column of each place.
            bins: pieces for each number.
        """
        super().__init__()
        cuts = [_cut(column[~column.isnan()], bins) for column in numbers.T]
        owners = [torch.full((len(begins),), place) for place, (begins, _) in enumerate(cuts)]
        nothing = torch.empty(0)
        self.register_buffer("column_of_piece", torch.cat([nothing.long(), *owners]))
        self.register_buffer("begins", torch.cat([nothing, *(begins for begins, _ in cuts)]))
        self.register_buffer("widths", torch.cat([nothing, *(widths for _, widths in cuts)]))
        pieces = self._pieces(numbers.index_select(1, self.column_of_piece))
        self.register_buffer("piece_means", pieces.nanmean(0))
        missing = numbers.isnan().float().mean(0)
        self.register_buffer("missing_columns", missing.nonzero().flatten())
        self.register_buffer("missing_shares", missing[self.missing_columns])
        shares = torch.bincount(codes.flatten(), minlength=len(column_of_place)) / len(codes)
        self.register_buffer("places", shares.nonzero().flatten())
        self.register_buffer("place_shares", shares[self.places])
        self.register_buffer("column_of_place", torch.tensor(column_of_place, dtype=torch.long)[self.places])
        self.register_buffer("known", torch.where(shares > 0, torch.arange(len(shares)), -1))

    column_of_piece: Tensor
    begins: Tensor
    widths: Tensor
    piece_means: Tensor
    missing_columns: Tensor
    missing_shares: Tensor
    places: Tensor
    place_shares: Tensor
    column_of_place: Tensor
    known: Tensor

    @property
    def means(self) -> Tensor:
        """(features,) over the training rows."""
        return torch.cat((self.piece_means, self.missing_shares, self.place_shares))

    def forward(self, numbers: Tensor | None, codes: Tensor | None) -> Tensor:
        """(batch, numeric columns) and (batch, other columns), one of them at least -> (batch, features)."""
        parts: list[Tensor] = []
        if numbers is not None:
            of_piece = numbers.index_select(1, self.column_of_piece)
            parts.append(torch.where(of_piece.isnan(), self.piece_means, self._pieces(of_piece)))
            if len(self.missing_columns):
                parts.append(numbers.index_select(1, self.missing_columns).isnan().float())
        if codes is not None:
            of_place = self.known[codes].index_select(1, self.column_of_place)
            parts.append(torch.where(of_place < 0, self.place_shares, (of_place == self.places).float()))
        return torch.cat(parts, dim=1)

    def _pieces(self, of_piece: Tensor) -> Tensor:
        return ((of_piece - self.begins) / self.widths).clamp(0, 1)


class ChurnNetwork(nn.Module):
    """An ensemble of nets of the same shape over the same features, trained side by side.

    Its answer is the mean of their log-odds. ``hidden=5, layers=1, members=1`` is the net of the textbooks: inputs,
    five hidden units, one output.
    """

    def __init__(
        self, encoder: RowEncoder, hidden: int, layers: int, members: int, dropout: float, share: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.members, self.hidden, self.dropout = members, hidden, dropout
        self.entry = nn.Linear(len(encoder.means), members * hidden)
        nn.init.kaiming_normal_(self.entry.weight, nonlinearity="relu")
        nn.init.zeros_(self.entry.bias)
        deviation = (2 / hidden) ** 0.5
        self.weights = nn.ParameterList(torch.randn(members, hidden, hidden) * deviation for _ in range(layers - 1))
        self.biases = nn.ParameterList(torch.zeros(members * hidden) for _ in range(layers - 1))
        self.exit = nn.Parameter(torch.randn(members, hidden) / hidden**0.5)
        # It begins with the share of yes among all rows, so that no step is spent on learning that.
        self.exit_bias = nn.Parameter(torch.full((members,), math.log(share / (1 - share))))

    def forward(self, numbers: Tensor | None, codes: Tensor | None) -> Tensor:
        """(batch, numeric columns) and (batch, other columns) -> the log-odds of each member, (batch, members)."""
        log_odds: Tensor = (self.activate(numbers, codes) * self.exit).sum(2) + self.exit_bias
        return log_odds

    def activate(self, numbers: Tensor | None, codes: Tensor | None) -> Tensor:
        """The values of the last hidden layer, (batch, members, hidden)."""
        # The mean is taken off the features by way of the bias, where a graph has it once and for all.
        bias = self.entry.bias - self.entry.weight @ self.encoder.means
        values = F.linear(self.encoder(numbers, codes), self.entry.weight, bias)
        values = self._rectify(values).view(-1, self.members, self.hidden)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            product = torch.einsum("bmi,mij->bmj", values, weight)
            values = self._rectify(product + bias.view(self.members, self.hidden))
        return values

    def _rectify(self, values: Tensor) -> Tensor:
        return F.dropout(F.relu(values), self.dropout, self.training)


class ServedNetwork(nn.Module):
    """What is exported: calibrated answers of the whole ensemble.

    Takes ``numbers`` (batch, numeric columns), NaN where a value is missing, and ``codes`` (batch, other columns); one
    that the table has no columns for is left out. Answers ``probabilities`` (batch, 2), of no and of yes, and
    ``log_odds`` (batch, 1) of yes. Log-odds are divided by the temperature (Guo et al. 2017, arXiv 1706.04599).
    """

    def __init__(self, network: ChurnNetwork, temperature: float) -> None:
        super().__init__()
        self.network = network
        # The mean over members of their last layers is one layer.
        exit_weight = network.exit.detach().flatten() / (network.members * temperature)
        exit_bias = network.exit_bias.detach().mean() / temperature
        self.register_buffer("exit_weight", torch.stack((-exit_weight, exit_weight)))
        self.register_buffer("exit_bias", torch.stack((-exit_bias, exit_bias)))

    exit_weight: Tensor
    exit_bias: Tensor

    def forward(self, numbers: Tensor | None = None, codes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-> (batch, 2) and (batch, 1)."""
        signed = F.linear(self.network.activate(numbers, codes).flatten(1), self.exit_weight, self.exit_bias)
        return torch.sigmoid(signed), signed[:, 1:]


def _cut(values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Where the pieces of a number begin, and how wide they are.

    Where quantiles fall together, as many rows have the same value: a step there, and no more pieces of no width.
    """
    if not len(values):
        return torch.empty(0), torch.empty(0)
    ordered, steps = values.double().sort().values, torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    edges = torch.quantile(ordered, steps) if len(ordered) < _LARGEST else ordered[(steps * (len(ordered) - 1)).long()]
    widths = edges.diff()
    follows = F.pad(widths[:-1] <= 0, (1, 0))
    kept = (widths > 0) | ~follows
    step = max(float(edges[-1] - edges[0]), 1.0) * _STEP
    return edges[:-1][kept].float(), widths.clamp(min=step)[kept].float()
