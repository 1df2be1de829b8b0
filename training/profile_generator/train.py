"""Train a generator of profiles and add it to the models.

python -m training profile_generator
"""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from models.manifest import Manifest
from training.averaging import average_weights
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, load_facts_of, save_checkpoint
from training.command import Places, setting
from training.errors import DivergenceError
from training.optimizers import OPTIMIZERS, SCHEDULES, build_optimizers, learning_rate_factor, scale_learning_rates
from training.profile_generator.data import load_profiles
from training.profile_generator.encoding import Encoding, build_encoding
from training.profile_generator.model import ProfileNetwork, forbidden_logits
from training.profile_generator.publish import Learnt, publish_version
from training.profile_generator.rules import Pairs, describe_rules, find_rules, forbidden_pairs
from training.progress import Progress
from training.table import Table, describe_table, split_names

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. What the recipe of an architecture does not set keeps the default here."""

    data: str = setting("telco", "telco, or a CSV or Parquet file")
    target: str = setting("Churn", "the column that a profile can be asked for by")
    categorical: str = setting("", "columns to take as categories, separated by commas")
    drop: str = setting("", "columns to leave out, separated by commas")
    architecture: str = setting("vae", "vae: each column's head reads those before it; plain: none", ("vae", "plain"))
    max_rows: int = setting(0, "use only so many rows; 0: all", minimum=0)
    validation_fraction: float = setting(0.1, "the share of the other rows than test rows that watch", None, 0.01, 0.5)
    bins: int = setting(32, "bins of a numeric column", minimum=2)
    latents: int = setting(4, "the size of the latent space", minimum=1)
    width: int = setting(64, "the width of the layers", minimum=1)
    dropout: float = setting(0.3, "the share of values dropped before dense layers", None, 0, 1)
    forgetting: float = setting(0.0, "the share of a row's values that later columns cannot read", None, 0, 1)
    free_nats: float = setting(0.0, "information that the latents may carry free of charge, in nats", minimum=0)
    divergence_weight: float = setting(1.0, "the weight of the divergence of latents from the prior", minimum=0)
    divergence_warmup: float = setting(0.3, "the share of the training in which that weight rises", None, 0, 1)
    epochs: int = setting(40, "passes over the training rows", minimum=1)
    batch_size: int = setting(128, "rows in one step, over all devices", minimum=1)
    optimizer: str = setting("adamw", "the optimiser", OPTIMIZERS)
    learning_rate: float = setting(1e-3, "the highest learning rate", minimum=0)
    momentum: float = setting(0.9, "sgd, rmsprop, muon: the momentum", None, 0, 1)
    weight_decay: float = setting(0.01, "L2 regularisation of matrices", minimum=0)
    schedule: str = setting("cosine", "how the learning rate falls", SCHEDULES)
    warmup_fraction: float = setting(0.05, "the share of the training in which the learning rate rises", None, 0, 1)
    average_decay: float = setting(0.99, "the decay of the average of the weights over steps; 0: the last", None, 0, 1)
    avoid_copies: bool = setting(True, "move generated rows that may be exact copies of training rows by a step")
    seed: int = setting(0, "decides every random choice", minimum=0)


RECIPES: dict[str, dict[str, Any]] = {"vae": {}, "plain": {"latents": 16, "width": 128, "dropout": 0.1}}
SMOKE = {"epochs": 2, "max_rows": 400, "batch_size": 50, "bins": 8, "width": 16}


@dataclass(frozen=True)
class Rows:
    """Tokens (rows, columns) and targets (rows,), with the pairs of tokens that rules forbid."""

    tokens: Tensor
    targets: Tensor
    pairs: Pairs

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, chosen: Tensor, network: ProfileNetwork, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and targets of the ``chosen`` rows, and what rules add to their logits (columns, chosen, widest)."""
        tokens, targets = self.tokens[chosen], self.targets[chosen]
        forbidden = forbidden_logits(self.pairs, targets, tokens, max(network.sizes))
        return tokens.to(device), targets.to(device), forbidden.to(device)


@dataclass
class State:
    """A training between two epochs; ``average`` holds the averaged weights, which are evaluated and served."""

    network: ProfileNetwork
    average: AveragedModel
    optimizers: list[Optimizer]
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def averaged(self) -> ProfileNetwork:
        """The network of the averaged weights."""
        return cast(ProfileNetwork, self.average.module)


def run(config: Config, places: Places, *, resume: bool) -> Manifest | None:
    """Train, evaluate once on the test split, and add a version to the models.

    Returns:
        The version's manifest; None in a process that is not the main one.

    Raises:
        TrainingError: a setting, the data, a loss that is no number, or an export that is not faithful.
    """
    accelerator = Accelerator()
    torch.manual_seed(config.seed)
    data = load_profiles(
        config.data,
        places.cache,
        config.target,
        categorical=split_names(config.categorical),
        drop=split_names(config.drop),
        max_rows=config.max_rows,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
    )
    encoding = build_encoding(data.train, config.bins)
    rules = find_rules(encoding, data.train)
    pairs = forbidden_pairs(rules, (2, *encoding.sizes))
    if accelerator.is_main_process:
        print(describe_table(data.table))
        print("rules:", *describe_rules(rules, encoding), sep="\n  ")
    state = start(config, encoding, accelerator)
    if resume:
        restore(state, config, places.output / CHECKPOINT_FILE)
    train(
        config,
        state,
        build_rows(encoding, pairs, data.train),
        build_rows(encoding, pairs, data.validation),
        accelerator,
        places.output,
    )
    if not accelerator.is_main_process:
        return None
    learnt = Learnt(encoding, rules, pairs, state.averaged.cpu(), state.history)
    return publish_version(config, data, learnt, places.models)


def build_rows(encoding: Encoding, pairs: Pairs, table: Table) -> Rows:
    """The rows of ``table`` as the network reads them."""
    return Rows(torch.from_numpy(encoding.encode(table)), torch.from_numpy(table.targets), pairs)


def start(config: Config, encoding: Encoding, accelerator: Accelerator) -> State:
    """A network that has learnt nothing yet, on the accelerator's device."""
    network = ProfileNetwork(
        encoding.sizes,
        latents=config.latents,
        width=config.width,
        dropout=config.dropout,
        autoregressive=config.architecture == "vae",
    ).to(accelerator.device)
    optimizers = build_optimizers(config.optimizer, network, config.learning_rate, config.momentum, config.weight_decay)
    return State(network, average_weights(network, config.average_decay), optimizers)


def train(config: Config, state: State, rows: Rows, validation: Rows, accelerator: Accelerator, output: Path) -> None:
    """Run the epochs that are left, with a checkpoint after each."""
    network = accelerator.prepare(state.network)
    with Progress(config.epochs, output, state.history, accelerator.is_main_process) as progress:
        while state.epoch < config.epochs:
            began = time.monotonic()
            train_loss, train_accuracy = train_epoch(config, state, network, rows, accelerator, progress)
            loss, divergence, accuracy = evaluate(state.averaged, validation, accelerator)
            state.epoch += 1
            state.seconds += time.monotonic() - began
            record = {
                "epoch": state.epoch,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "validation_divergence": divergence,
                "learning_rate": state.optimizers[0].param_groups[0]["lr"],
                "seconds": state.seconds,
            }
            state.history.append(record)
            progress.epoch(record)
            if accelerator.is_main_process:
                save(state, config, output / CHECKPOINT_FILE)


def train_epoch(
    config: Config, state: State, network: nn.Module, rows: Rows, accelerator: Accelerator, progress: Progress
) -> tuple[float, float]:
    """One pass over ``rows``; the mean loss in nats and the share of values that were the most probable ones."""
    network.train()
    # One seed for each epoch, so that a resumed training draws what an uninterrupted one would.
    torch.manual_seed(config.seed * 1_000_003 + state.epoch)
    steps = max(1, len(rows) // config.batch_size)
    order = torch.randperm(len(rows))
    total_loss, total_accuracy, seen = 0.0, 0.0, 0
    for step in range(steps):
        chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
        chosen = chosen[accelerator.process_index :: accelerator.num_processes]
        set_learning_rate(config, state.optimizers, state.epoch + step / steps)
        weight = divergence_weight(config, state.epoch + step / steps)
        loss, accuracy = train_step(config, state, network, rows, chosen, weight, accelerator)
        total_loss, total_accuracy = total_loss + loss * len(chosen), total_accuracy + accuracy * len(chosen)
        seen += len(chosen)
        progress.step(state.epoch, step + 1, steps, total_loss / seen, total_accuracy / seen)
    return total_loss / seen, total_accuracy / seen


def train_step(
    config: Config,
    state: State,
    network: nn.Module,
    rows: Rows,
    chosen: Tensor,
    weight: float,
    accelerator: Accelerator,
) -> tuple[float, float]:
    """One step on the ``chosen`` rows; the loss (negative evidence bound, in nats) and the accuracy.

    Raises:
        DivergenceError: the loss is no number.
    """
    tokens, targets, forbidden = rows.take(chosen, state.network, accelerator.device)
    kept = (torch.rand(tokens.shape, device=tokens.device) >= config.forgetting).float()
    logits, mean, log_variance = network(tokens, targets, kept)
    logits = logits + forbidden
    reconstruction = negative_log_likelihood(logits, tokens).mean()
    divergences = gaussian_divergence(mean, log_variance).mean(dim=0)  # (latents,)
    paid = divergences.clamp(min=config.free_nats / config.latents).sum()
    loss = reconstruction + weight * paid
    value = (reconstruction + divergences.sum()).item()
    if not math.isfinite(loss.item()):
        raise DivergenceError(
            f"the loss is {loss.item()} in epoch {state.epoch + 1}: expected a number; try a lower learning_rate than "
            f"{config.learning_rate}"
        )
    accelerator.backward(loss)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    state.average.update_parameters(state.network)
    return value, token_accuracy(logits, tokens)


@torch.no_grad()
def evaluate(network: ProfileNetwork, rows: Rows, accelerator: Accelerator) -> tuple[float, float, float]:
    """The negative evidence bound and its divergence, both in nats for a row, and the accuracy, without dropout."""
    network.eval()
    generator = torch.Generator().manual_seed(0)
    totals = torch.zeros(3, dtype=torch.float64)
    for chosen in torch.arange(len(rows)).split(EVALUATION_BATCH):  # type: ignore[no-untyped-call]
        tokens, targets, forbidden = rows.take(chosen, network, accelerator.device)
        mean, log_variance = network.encode(tokens, targets)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        logits = network.decode(mean + noise * (log_variance / 2).exp(), targets, tokens) + forbidden
        divergence = float(gaussian_divergence(mean, log_variance).sum())
        loss = float(negative_log_likelihood(logits, tokens).sum()) + divergence
        totals += torch.tensor([loss, divergence, token_accuracy(logits, tokens) * len(chosen)])
    loss, divergence, accuracy = (totals / len(rows)).tolist()
    return loss, divergence, accuracy


def negative_log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Of each row, in nats: (columns, batch, widest), (batch, columns) -> (batch,). Unknown tokens cost nothing."""
    losses = F.cross_entropy(logits.permute(1, 2, 0), tokens, ignore_index=-1, reduction="none")
    return losses.sum(dim=1)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The Kullback-Leibler divergence from the standard normal distribution of each latent, (batch, latents)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def token_accuracy(logits: Tensor, tokens: Tensor) -> float:
    """The share of the values that their heads found the most probable."""
    return float((tokens == logits.argmax(dim=2).T).float().mean())


def divergence_weight(config: Config, epochs_done: float) -> float:
    """The weight of the divergence: it rises from zero, so that latents are used before they are paid for."""
    risen = epochs_done / (config.divergence_warmup * config.epochs) if config.divergence_warmup else 1.0
    return config.divergence_weight * min(1.0, risen)


def set_learning_rate(config: Config, optimizers: list[Optimizer], epochs_done: float) -> None:
    """Set the learning rates of all groups to their highest times the schedule's factor."""
    factor = learning_rate_factor(config.schedule, config.warmup_fraction, epochs_done / config.epochs)
    scale_learning_rates(optimizers, factor)


def save(state: State, config: Config, path: Path) -> None:
    """Write the state with the configuration that it belongs to."""
    facts = {"config": asdict(config), "epoch": state.epoch, "seconds": state.seconds, "history": state.history}
    save_checkpoint(path, {"network": state.network, "average": state.average}, state.optimizers, facts)


def restore(state: State, config: Config, path: Path) -> None:
    """Go on where a checkpoint of the same configuration stands.

    Raises:
        SettingError: there is none, or its configuration is another.
    """
    facts = load_facts_of(path, config)
    load_checkpoint(path, {"network": state.network, "average": state.average}, state.optimizers)
    state.epoch, state.seconds, state.history = facts["epoch"], facts["seconds"], facts["history"]
