"""The decoder as it is served: noise and a target in, rows of the table out.

It computes in double precision throughout. A token is where a random number falls between cumulated probabilities, and
a value is rounded: single precision would now and then decide otherwise in another batch or on another device. All
constants are tensors or whole numbers, since the exporter writes other numbers in single precision.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from training.profile_generator.copies import SHIFTS, CopyFilter, to_steps
from training.profile_generator.encoding import PLACES, Encoding, NumberCode
from training.profile_generator.model import FORBIDDEN, ProfileNetwork


class ServedDecoder(nn.Module):
    """``z`` (batch, noise) standard normal and ``target`` (batch,) -> ``numbers`` and the places of ``texts``.

    ``z`` holds the latents, then a number for the token of each column, then one for the place in each numeric
    column's bin. The second output is (batch, text columns), places in :attr:`words`.
    """

    def __init__(
        self,
        network: ProfileNetwork,
        encoding: Encoding,
        pairs: Mapping[tuple[int, int], NDArray[np.bool_]],
        copies: CopyFilter | None,
    ) -> None:
        super().__init__()
        network = network.double()
        self.encoding = encoding
        self.copies = copies
        self.sizes = network.sizes
        self.latents = network.latents
        self.autoregressive = network.autoregressive
        self.noise = network.latents + len(network.sizes) + len(encoding.numbers)
        self.uniform = Uniform()
        self.decoder_latents = network.decoder_latents
        self.decoder_target = network.decoder_target
        self.heads = nn.ModuleList(_Head(network, column) for column in range(len(network.sizes)))
        self.later = [[late for early, late in pairs if early == column] for column in range(len(network.sizes) + 1)]
        for (early, late), mask in pairs.items():
            self.register_buffer(f"forbidden_{early}_{late}", torch.from_numpy(mask.astype(np.float64) * FORBIDDEN))
        self.values = nn.ModuleList(_Values(code) for code in encoding.numbers)
        self.words = tuple(word for code in encoding.texts for word in code.words)
        starts = np.cumsum([0, *(code.size for code in encoding.texts)])[:-1]
        self.register_buffer("starts", torch.from_numpy(starts.astype(np.int64)))

    starts: Tensor

    def forward(self, z: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """(batch, noise), (batch,) -> (batch, numeric columns) float32, (batch, text columns) int64."""
        latents, chances, places = self._read(z)
        tokens = self._tokens(latents, chances, target)
        texts, later = tokens[: len(self.encoding.texts)], tokens[len(self.encoding.texts) :]
        outputs: list[Tensor] = []
        if later:
            outputs.append(self._numbers(dict(zip(self.encoding.order, later, strict=True)), places, texts, target))
        if texts:
            outputs.append(torch.stack(texts, dim=1) + self.starts)
        return tuple(outputs)

    def _read(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        noise = z.double()
        uniform = self.uniform(noise[:, self.latents :])
        columns = len(self.sizes)
        return noise[:, : self.latents], uniform[:, :columns], uniform[:, columns:]

    def _tokens(self, latents: Tensor, chances: Tensor, target: Tensor) -> list[Tensor]:
        """The tokens (batch,) of each column, in the order in which they are generated."""
        context = self.decoder_target(target) + self.decoder_latents(latents)
        added: dict[int, Tensor] = {}
        self._forbid(added, 0, target)
        tokens: list[Tensor] = []
        for column, head in enumerate(self.heads):
            logits = head(context)
            if column + 1 in added:
                logits = logits + added[column + 1]
            reached = logits.softmax(dim=1).cumsum(dim=1)
            chance = chances[:, column : column + 1] * reached[:, -1:]
            token = (reached[:, :-1] < chance).sum(dim=1)
            tokens.append(token)
            self._forbid(added, column + 1, token)
            if self.autoregressive:
                context = context + head.read(token)  # type: ignore[operator]
        return tokens

    def _forbid(self, added: dict[int, Tensor], early: int, token: Tensor) -> None:
        """Add what the token of column ``early`` forbids of later ones."""
        for late in self.later[early]:
            row = F.embedding(token, self.get_buffer(f"forbidden_{early}_{late}"))
            added[late] = added[late] + row if late in added else row

    def _numbers(self, tokens: Mapping[int, Tensor], places: Tensor, texts: Sequence[Tensor], target: Tensor) -> Tensor:
        """(batch, numeric columns) in single precision, from the tokens of each numeric column, (batch,) each.

        Values are computed for every shift at once, (batch, shifts), and that of the first free row is taken.
        """
        values: dict[int, Tensor] = {}
        missing: dict[int, Tensor] = {}
        for place in self.encoding.order:
            code = self.values[place]
            unbounded = code(tokens[place], places[:, place], values, texts)
            values[place] = code.bound(unbounded)  # type: ignore[operator]
            missing[place] = code.is_missing(tokens[place])  # type: ignore[operator]
            if self.copies is not None and place == self.copies.column:
                values[place] = code.bound(self.copies.shift(values[place], tokens[place]))  # type: ignore[operator]
            self._give_way(values, place, unbounded, tokens[place])
        if self.copies is not None:
            chosen = self.copies.choose(values, missing, [target, *texts])
            values = {place: value.expand(-1, len(SHIFTS)).gather(1, chosen) for place, value in values.items()}
        columns = [torch.where(missing[place], torch.nan, values[place]) for place in range(len(values))]
        return torch.cat(columns, dim=1).float()

    def _give_way(self, values: dict[int, Tensor], place: int, unbounded: Tensor, tokens: Tensor) -> None:
        """Where a value is its product exactly, and bounds have changed it, its second factor changes with it."""
        code = self.encoding.numbers[place]
        if code.relation is None or code.relation.factors is None or code.exact_token is None:
            return
        first, second = code.relation.factors
        changed = (values[place] != unbounded) & (tokens == code.exact_token).unsqueeze(1) & (values[first] != 0)
        factor = values[place] / torch.where(changed, values[first], 1.0)
        values[second] = torch.where(changed, factor, values[second])


class _Head(nn.Module):
    """The part of the decoder that says how probable the tokens of one column are."""

    def __init__(self, network: ProfileNetwork, column: int) -> None:
        super().__init__()
        size = network.sizes[column]
        start = int(network.offsets[column])
        for name, value in (
            ("hidden", network.hidden[column].T),
            ("hidden_bias", network.hidden_bias[column, 0]),
            ("logits", network.logits[column, :, :size].T),
            ("direct", network.direct[column, :, :size].T),
            ("logits_bias", network.logits_bias[column, 0, :size]),
            ("embedding", network.decoder_tokens.weight[start : start + size]),
        ):
            self.register_buffer(name, value.detach().clone())

    hidden: Tensor
    hidden_bias: Tensor
    logits: Tensor
    direct: Tensor
    logits_bias: Tensor
    embedding: Tensor

    def forward(self, context: Tensor) -> Tensor:
        """(batch, width) -> (batch, tokens)."""
        hidden = F.silu(F.linear(context, self.hidden, self.hidden_bias))
        return F.linear(hidden, self.logits, self.logits_bias) + F.linear(context, self.direct)

    def read(self, token: Tensor) -> Tensor:
        """What later columns read of this one's tokens: (batch,) -> (batch, width)."""
        return F.embedding(token, self.embedding)


class _Values(nn.Module):
    """From tokens of a numeric column to its values."""

    def __init__(self, code: NumberCode) -> None:
        super().__init__()
        self.code = code
        # What stands for missing is replaced at the end: not every provider takes NaN through a minimum.
        missing = np.zeros((int(code.has_missing), PLACES + 1))
        self.register_buffer("knots", torch.from_numpy(np.concatenate((code.knots, missing))))
        if code.relation is not None:
            for place, weights in enumerate(code.relation.weights):
                self.register_buffer(f"weights_{place}", torch.from_numpy(weights[:, np.newaxis].copy()))
            for name, value in (("intercept", code.relation.intercept), ("floor", code.relation.floor)):
                self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        bounds = [code.column.minimum, code.column.maximum]
        self.register_buffer("bounds", torch.tensor(bounds, dtype=torch.float64))

    knots: Tensor  # (tokens, PLACES + 1)
    intercept: Tensor
    floor: Tensor
    bounds: Tensor  # (2,)

    def forward(self, tokens: Tensor, places: Tensor, numbers: Mapping[int, Tensor], texts: Sequence[Tensor]) -> Tensor:
        """Values (batch, shifts), rounded; one shift where they follow from nothing that is shifted.

        Args:
            tokens: (batch,).
            places: in the tokens' bins, from 0 to 1, (batch,).
            numbers: the values of earlier columns, (batch, shifts) each.
            texts: the tokens of the text columns, (batch,) each.
        """
        values = self._look_up(tokens, places)
        if self.code.relation is not None:
            base = self._base(numbers, texts)
            values = base + values * torch.maximum(base.abs(), self.floor) ** self.code.relation.exponent
        return to_steps(values, self.code)

    def bound(self, values: Tensor) -> Tensor:
        """Values of any shape, within the least and the greatest of the table."""
        return torch.minimum(torch.maximum(values, self.bounds[0]), self.bounds[1])

    def is_missing(self, tokens: Tensor) -> Tensor:
        """Which rows have no value: (batch,) -> (batch, 1)."""
        return (tokens >= len(self.code.knots)).unsqueeze(1)

    def _look_up(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Tokens and places in their bins -> values, or differences where there is a relation, (batch, 1)."""
        knots = F.embedding(tokens, self.knots)
        exact = (places * PLACES).unsqueeze(1)
        left = exact.floor().clamp(0, PLACES - 1)
        low, high = knots.gather(1, left.long()), knots.gather(1, left.long() + 1)
        return low + (high - low) * (exact - left)

    def _base(self, numbers: Mapping[int, Tensor], texts: Sequence[Tensor]) -> Tensor:
        relation = self.code.relation
        if relation is None:
            raise ValueError("a column without a relation has no base")
        if relation.factors is not None:
            return numbers[relation.factors[0]] * numbers[relation.factors[1]]
        weighted = [F.embedding(token, self.get_buffer(f"weights_{place}")) for place, token in enumerate(texts)]
        return torch.stack(weighted).sum(dim=0) + self.intercept


class Uniform(nn.Module):
    """Standard normal numbers as numbers between 0 and 1, each as probable as any other.

    This is the normal distribution function within 7.5e-8 (Abramowitz and Stegun 1964, 26.2.17), made of operators
    that every provider has in double precision.
    """

    def __init__(self) -> None:
        super().__init__()
        coefficients = [0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429]
        self.register_buffer("coefficients", torch.tensor(coefficients, dtype=torch.float64))
        self.register_buffer("rate", torch.tensor(0.2316419, dtype=torch.float64))
        self.register_buffer("peak", torch.tensor(2 * np.pi, dtype=torch.float64).rsqrt())
        self.register_buffer("edge", torch.tensor(1e-9, dtype=torch.float64))

    coefficients: Tensor
    rate: Tensor
    peak: Tensor
    edge: Tensor

    def forward(self, noise: Tensor) -> Tensor:
        """Double precision, of any shape."""
        size = noise.abs()
        step = 1 / (1 + self.rate * size)
        polynomial = self.coefficients[4] * step
        for place in (3, 2, 1, 0):
            polynomial = (polynomial + self.coefficients[place]) * step
        tail = torch.maximum(self.peak * torch.exp(-0.5 * size * size) * polynomial, self.edge)
        return torch.where(noise > 0, 1 - tail, tail)
