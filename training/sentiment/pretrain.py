"""Language models that read each way: what the reader learns from texts before it sees a label.

Predicting the next token in each direction, on labelled and unlabelled training texts, is worth six points of accuracy
to a classifier of reviews (Dai and Le 2015, arXiv 1511.01432). The softmax over the vocabulary is sampled (Jean et al.
2015, arXiv 1412.2007): all tokens of a batch share the tokens that they are told from.
"""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.optim import Adam

from models.text import TokenIds
from training.averaging import average_gradients
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, load_facts, save_checkpoint
from training.errors import DivergenceError
from training.optimizers import learning_rate_factor, scale_learning_rates
from training.sentiment.batches import draw_batches, measure_lengths, pad, sort_batches
from training.sentiment.model import LanguageModel, Reader, reverse
from training.sentiment.shards import Shards

FOLDER = "pretraining"
_BETAS = (0.9, 0.98)
_WARMUP_FRACTION = 0.05
_MAX_NORM = 1.0
_VALIDATION_ROWS = 4096  # positions whose whole softmax is computed at a time


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides a pre-training: with the same, a finished one is used again."""

    texts: str  # sha256 of the token ids
    architecture: str
    vocabulary: int
    dimensions: int
    hidden: int
    layers: int
    max_tokens: int
    epochs: int
    batch_size: int
    learning_rate: float
    negatives: int
    precision: str
    seed: int

    @property
    def digest(self) -> str:
        """A name for it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def pretrain(
    reader: Reader,
    plan: Pretraining,
    texts: Sequence[TokenIds],
    validation: Sequence[TokenIds],
    cache: Path,
    accelerator: Accelerator,
) -> list[dict[str, float]]:
    """Train ``reader`` as a language model, going on where a training of the same plan stopped or was finished.

    Args:
        reader: changed in place.
        plan: what decides it.
        texts: token ids, whole; of longer ones a window of ``max_tokens`` is read in each epoch.
        validation: other texts, to watch it by.
        cache: where the state is kept after each epoch.
        accelerator: device and arithmetic.

    Returns:
        A record for each epoch: ``forward_loss`` and ``backward_loss`` (where it reads backwards) of the sampled
        softmax, ``validation_loss`` of the whole one, all in nats a token, and ``seconds`` since the beginning.

    Raises:
        DivergenceError: the loss is no number.
        SettingError: the kept state is damaged.
    """
    console = Console(quiet=not accelerator.is_main_process, soft_wrap=True, highlight=False)
    path = cache / FOLDER / plan.digest / CHECKPOINT_FILE
    counts = np.bincount(np.concatenate(texts), minlength=plan.vocabulary) + 1
    counts[0] = 0
    model = LanguageModel(reader, torch.from_numpy(counts)).to(accelerator.device)
    optimizer = Adam(model.parameters(), lr=plan.learning_rate, betas=_BETAS)
    records: list[dict[str, float]] = []
    if path.is_file():
        records = load_facts(path)["records"]
        load_checkpoint(path, {"model": model}, [optimizer])
        console.print(f"pre-training: {len(records)} of {plan.epochs} epochs are in '{path}'", markup=False)
    shards = Shards(accelerator.device)
    while len(records) < plan.epochs:
        began = time.monotonic()
        losses = _train_epoch(model, optimizer, plan, texts, counts, len(records), shards, accelerator)
        seconds = (records[-1]["seconds"] if records else 0.0) + time.monotonic() - began
        record = {"epoch": float(len(records) + 1), "forward_loss": losses[0], "seconds": seconds}
        if len(losses) > 1:
            record["backward_loss"] = losses[1]
        record["validation_loss"] = _evaluate(model, plan, validation, shards)
        records.append(record)
        left = seconds / len(records) * (plan.epochs - len(records))
        console.print(
            f"pre-training epoch {len(records)}/{plan.epochs}  loss {' '.join(f'{loss:.4f}' for loss in losses)}"
            f"  validation loss {record['validation_loss']:.4f}  {seconds:.0f} s  {left:.0f} s left",
            markup=False,
        )
        if accelerator.is_main_process:
            save_checkpoint(path, {"model": model}, [optimizer], {"plan": asdict(plan), "records": records})
    return records


def digest_texts(texts: Sequence[TokenIds]) -> str:
    """The sha256 of token ids."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.tobytes() + b"|")
    return digest.hexdigest()


def _train_epoch(
    model: LanguageModel,
    optimizer: Adam,
    plan: Pretraining,
    texts: Sequence[TokenIds],
    counts: NDArray[np.int64],
    epoch: int,
    shards: Shards,
    accelerator: Accelerator,
) -> list[float]:
    """One pass over ``texts``; the mean loss of each direction."""
    model.train()
    generator = np.random.default_rng((plan.seed, epoch))
    shares = counts / counts.sum()
    log_expected = torch.from_numpy(np.log(np.maximum(shares * plan.negatives, 1e-30))).float().to(accelerator.device)
    lengths = np.minimum(measure_lengths(texts), plan.max_tokens)
    steps = math.ceil(len(texts) / plan.batch_size)
    totals, seen = np.zeros(len(model.projections)), 0
    for step, rows in enumerate(draw_batches(lengths, plan.batch_size, generator)):
        windows = [_window(texts[row], plan.max_tokens, generator) for row in rows]
        negatives = torch.from_numpy(generator.choice(plan.vocabulary, plan.negatives, p=shares)).to(accelerator.device)
        windows = windows[accelerator.process_index :: accelerator.num_processes] or windows[:1]
        tokens = sum(len(window) - 1 for window in windows)

        def learn(part: Sequence[TokenIds], negatives: Tensor = negatives, tokens: int = tokens) -> list[float]:
            """The sum of each direction's losses over a part, whose share of the gradient is added."""
            ids = pad(part).to(accelerator.device)
            sums = []
            with accelerator.autocast():
                for direction in range(len(model.projections)):
                    hidden, targets = _predict(model, ids, direction)
                    loss = _sampled_loss(model, hidden, targets, negatives, log_expected)
                    (loss / tokens).backward()  # type: ignore[no-untyped-call]
                    sums.append(loss.item())
            return sums

        factor = learning_rate_factor("linear", _WARMUP_FRACTION, (epoch + step / steps) / plan.epochs)
        scale_learning_rates([optimizer], factor)
        sums = np.sum(shards.run(learn, shards.split(windows)), axis=0)
        if not np.isfinite(sums).all():
            raise DivergenceError(
                f"the loss of pre-training is {sums.max() / tokens} in epoch {epoch + 1}: expected a number; try a "
                f"lower pretrain_learning_rate than {plan.learning_rate}"
            )
        average_gradients(model, accelerator)
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        totals, seen = totals + sums, seen + tokens
    return (totals / seen).tolist()  # type: ignore[no-any-return]


def _window(text: TokenIds, length: int, generator: np.random.Generator) -> TokenIds:
    """A random part of ``text``, of ``length`` tokens, or all of it."""
    start = int(generator.integers(max(len(text) - length, 0) + 1))
    return text[start : start + length]


def _predict(model: LanguageModel, ids: Tensor, direction: int) -> tuple[Tensor, Tensor]:
    """What a direction predicts tokens by, (positions, dimensions), and which tokens come, (positions,)."""
    if direction:
        ids = reverse(ids[:, :, None], (ids != 0).sum(1)).squeeze(2)
    present = ids[:, 1:] != 0
    states = model.reader.directions[direction](model.reader.embedding(ids[:, :-1]))[0]
    return model.projections[direction](states[present]), ids[:, 1:][present]


def _sampled_loss(
    model: LanguageModel, hidden: Tensor, targets: Tensor, negatives: Tensor, log_expected: Tensor
) -> Tensor:
    """The sum of losses over positions, with logits less the logarithm of how often a token is expected as a negative.

    Args:
        model: for its embedding and bias.
        hidden: (positions, dimensions).
        targets: (positions,) the tokens that come.
        negatives: (negatives,) drawn by frequency.
        log_expected: (vocabulary,).
    """
    weight, offset = model.reader.embedding.weight, model.bias - log_expected
    true = (hidden.float() * F.embedding(targets, weight)).sum(1) + offset[targets]
    noise = (hidden @ weight[negatives].T.to(hidden.dtype)).float() + offset[negatives]
    noise = noise.masked_fill(targets[:, None] == negatives, -1e4)
    return (torch.logaddexp(true, noise.logsumexp(1)) - true).sum()


@torch.no_grad()
def _evaluate(model: LanguageModel, plan: Pretraining, texts: Sequence[TokenIds], shards: Shards) -> float:
    """The mean loss of a token by the whole softmax, over all directions, in single precision."""
    model.eval()
    device = model.bias.device

    def measure(rows: NDArray[np.int64]) -> tuple[float, int]:
        with torch.no_grad():  # of each thread its own
            ids, total, positions = pad([texts[row][: plan.max_tokens] for row in rows]).to(device), 0.0, 0
            for direction in range(len(model.projections)):
                hidden, targets = _predict(model, ids, direction)
                for begin in range(0, len(targets), _VALIDATION_ROWS):
                    part = slice(begin, begin + _VALIDATION_ROWS)
                    logits = F.linear(hidden[part], model.reader.embedding.weight, model.bias)
                    logits[:, 0] = -torch.inf
                    total += float(F.cross_entropy(logits, targets[part], reduction="sum"))
                positions += len(targets)
            return total, positions

    parts = shards.run(measure, sort_batches(measure_lengths(texts), plan.batch_size))
    return sum(total for total, _ in parts) / sum(positions for _, positions in parts)
