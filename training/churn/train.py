"""Train a model that predicts churn and add it to the models.

python -m training churn

On the Telco table, 5 x 5 folds, seed 0: area under the ROC curve 0.8497, Brier score 0.1332, expected calibration error
0.013; logistic regression 0.8453, CatBoost 0.8481. It took 165 seconds on two cores of an AMD EPYC that were busy with
other work as well. The defaults were chosen by hand among some twenty, by the first of the five repeats; over the other
four the area is 0.8496.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.optim import Optimizer

from models.manifest import Manifest
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, load_facts_of, save_checkpoint
from training.churn.baselines import BASELINES, predict_baselines
from training.churn.data import Fold, Inputs, build_inputs, build_vocabulary, hold_out, load_data, split_folds
from training.churn.model import ChurnNetwork, RowEncoder
from training.churn.publish import publish_version
from training.churn.report import describe_report, make_report
from training.churn.tune import STORAGE_FILE, search_settings
from training.command import Places, setting
from training.errors import DivergenceError, SettingError
from training.optimizers import OPTIMIZERS, SCHEDULES, build_optimizers, learning_rate_factor, scale_learning_rates
from training.table import Table, describe_table

NETWORK = "network"
MIN_STEPS = 20
MIN_STEP_ROWS = 16


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. What the recipe of an architecture does not set keeps the default here."""

    data: str = setting("telco", "telco, or a CSV or Parquet file")
    target: str = setting("Churn", "the column to predict")
    categorical: str = setting("", "columns that are categories though they look like numbers, separated by commas")
    drop: str = setting("", "columns to leave out, separated by commas")
    max_rows: int = setting(0, "use only so many rows; 0: all", minimum=0)
    architecture: str = setting("mlp", "the network", ("mlp",))
    hidden: int = setting(128, "units in each hidden layer of a member", minimum=1)
    layers: int = setting(1, "hidden layers", minimum=1)
    members: int = setting(
        16, "nets whose log-odds are averaged; --hidden 5 --members 1 is a textbook's net", minimum=1
    )
    bins: int = setting(10, "pieces into which quantiles cut a number; 1: one straight line", minimum=1)
    dropout: float = setting(0.7, "the share of hidden values dropped in training", None, 0, 0.99)
    epochs: int = setting(10, "passes over the training rows", minimum=1)
    batch_size: int = setting(256, "rows in one step; less where an epoch would have fewer than 20 steps", minimum=1)
    optimizer: str = setting("adamw", "the optimiser", OPTIMIZERS)
    learning_rate: float = setting(3e-3, "the highest learning rate", minimum=0)
    momentum: float = setting(0.9, "sgd, rmsprop, muon: the momentum", None, 0, 1)
    weight_decay: float = setting(0.02, "L2 regularisation of weights", minimum=0)
    schedule: str = setting("cosine", "how the learning rate falls", SCHEDULES)
    folds: int = setting(
        5, "parts that the rows are split into; each is predicted by nets that learnt the others", None, 2
    )
    repeats: int = setting(5, "how many times, each time with other folds", minimum=1)
    baselines: bool = setting(True, "measure logistic regression and CatBoost on the same folds")
    cost_false_negative: float = setting(
        0.0, "threshold: the cost of a churn not expected; no costs: best F1", minimum=0
    )
    cost_false_positive: float = setting(0.0, "threshold: the cost of an expected churn that is none", minimum=0)
    tune: int = setting(0, "settings to try, anew in each fold, on its training rows alone; 0: as given", minimum=0)
    seed: int = setting(0, "decides every random choice", minimum=0)


RECIPES: dict[str, dict[str, Any]] = {"mlp": {}}
SMOKE = {"max_rows": 600, "members": 2, "hidden": 16, "epochs": 3, "dropout": 0.2, "folds": 3, "repeats": 1}


class Predictions(nn.Module):
    """What each model says of rows it did not learn from: (repeats, rows), log-odds of the network, else probabilities.

    A module, so that a checkpoint can keep it.
    """

    def __init__(self, models: Sequence[str], repeats: int, rows: int) -> None:
        super().__init__()
        for model in models:
            self.register_buffer(model, torch.full((repeats, rows), torch.nan, dtype=torch.float64))


@dataclass
class State:
    """A training between two folds. ``records`` has a line for each fold that is done."""

    predictions: Predictions
    records: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def run(config: Config, places: Places, *, resume: bool) -> Manifest | None:
    """Prepare, build, train, evaluate and tune; then learn from all rows and add a version to the models.

    Returns:
        The version's manifest; None in a process that is not the main one.

    Raises:
        TrainingError: a setting, the data, a loss that is no number, or an export that is not faithful.
    """
    accelerator = Accelerator()
    console = Console(quiet=not accelerator.is_main_process, soft_wrap=True, highlight=False)
    table = load_data(config, places.cache)
    console.print(describe_table(table), markup=False)
    check_folds(config, table)
    folds = list(split_folds(table.targets, config.folds, config.repeats, config.seed))
    models = (NETWORK, *(BASELINES if config.baselines else ()))
    state = State(Predictions(models, config.repeats, len(table)))
    if resume:
        restore(state, config, table, places.output / CHECKPOINT_FILE)
    train_folds(config, state, table, folds, accelerator, console, places.output)
    report = make_report(config, table, folds, state.predictions, state.records)
    console.print(describe_report(report), markup=False)
    began = time.monotonic()
    inputs = to_device(build_inputs(table), accelerator)
    every, seed = np.arange(len(table)), config.seed * 1_000_003
    settings, network = learn(config, table, inputs, every, seed, "all rows", accelerator, places.output)
    state.seconds += time.monotonic() - began
    if not accelerator.is_main_process:
        return None
    return publish_version(settings, table, network.cpu(), report, state.seconds, places.models)


def train_folds(
    config: Config,
    state: State,
    table: Table,
    folds: Sequence[Fold],
    accelerator: Accelerator,
    console: Console,
    output: Path,
) -> None:
    """Predict every fold that is left from the others, with a checkpoint after each."""
    inputs = to_device(build_inputs(table), accelerator)
    before, start = len(state.records), time.monotonic()
    for fold in folds[before:]:
        began = time.monotonic()
        seed = config.seed * 1_000_003 + fold.repeat * config.folds + fold.number + 1
        name = f"fold {fold.repeat}.{fold.number}"
        _, network = learn(config, table, inputs, fold.train, seed, name, accelerator, output)
        log_odds = predict(network, inputs.take(fold.test))
        answers = {NETWORK: log_odds.double().cpu().numpy()}
        if config.baselines:
            answers |= predict_baselines(table, fold, config.seed)
        for model, answer in answers.items():
            getattr(state.predictions, model)[fold.repeat, torch.from_numpy(fold.test)] = torch.from_numpy(answer)
        areas = {model: float(roc_auc_score(table.targets[fold.test], answer)) for model, answer in answers.items()}
        state.seconds += time.monotonic() - began
        state.records.append({"seconds": state.seconds, **areas})
        left = (time.monotonic() - start) / (len(state.records) - before) * (len(folds) - len(state.records))
        shown = "  ".join(f"{model} {area:.4f}" for model, area in areas.items())
        console.print(
            f"repeat {fold.repeat + 1}/{config.repeats} fold {fold.number + 1}/{config.folds}  "
            f"area under the ROC curve: {shown}  {state.seconds:.0f} s  {left:.0f} s left"
        )
        if accelerator.is_main_process:
            save(state, config, table, output / CHECKPOINT_FILE)


def learn(
    config: Config,
    table: Table,
    inputs: Inputs,
    rows: NDArray[np.int64],
    seed: int,
    name: str,
    accelerator: Accelerator,
    output: Path,
) -> tuple[Config, ChurnNetwork]:
    """Learn from ``rows``; with settings that are chosen by them alone, where a search is asked for.

    The search measures settings on a fifth of the rows, which nets with these settings did not learn from.
    """
    settings = config
    if config.tune:
        learnt, watched = (inputs.take(part) for part in hold_out(rows, table.targets, seed))

        def measure(proposed: Mapping[str, Any]) -> float:
            return evaluate(fit(replace(config, **proposed), table, learnt, seed, accelerator), watched)

        settings = replace(config, **search_settings(measure, config.tune, output / STORAGE_FILE, name, seed))
    return settings, fit(settings, table, inputs.take(rows), seed, accelerator)


def fit(config: Config, table: Table, inputs: Inputs, seed: int, accelerator: Accelerator) -> ChurnNetwork:
    """A network that learnt from ``inputs``."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = build_network(config, table, inputs).to(accelerator.device)
    optimizers = build_optimizers(config.optimizer, network, config.learning_rate, config.momentum, config.weight_decay)
    steps = max(round(len(inputs) / config.batch_size), min(MIN_STEPS, len(inputs) // MIN_STEP_ROWS), 1)
    network.train()
    for epoch in range(config.epochs):
        # Parts of nearly one size: a last step on the few rows that are left over would be all noise.
        parts = torch.randperm(len(inputs), generator=generator).tensor_split(steps)
        for step, rows in enumerate(parts):
            set_learning_rate(config, optimizers, (epoch + step / steps) / config.epochs)
            train_step(config, network, optimizers, inputs.take(rows.numpy()), epoch, accelerator)
    return network.eval()


def set_learning_rate(config: Config, optimizers: Sequence[Optimizer], progress: float) -> None:
    """Set the learning rates of all groups to their highest times the schedule's factor."""
    factor = learning_rate_factor(config.schedule, 0.0, progress)
    scale_learning_rates(optimizers, factor)


def build_network(config: Config, table: Table, inputs: Inputs) -> ChurnNetwork:
    """A network that has learnt nothing yet but the quantiles and shares of ``inputs``."""
    vocabulary = build_vocabulary(table.preprocessing.text_columns)
    encoder = RowEncoder(inputs.numbers.cpu(), inputs.codes.cpu(), vocabulary.columns, config.bins)
    share = float(inputs.targets.mean())
    return ChurnNetwork(encoder, config.hidden, config.layers, config.members, config.dropout, share)


def train_step(
    config: Config,
    network: ChurnNetwork,
    optimizers: Sequence[Optimizer],
    batch: Inputs,
    epoch: int,
    accelerator: Accelerator,
) -> None:
    """One step; each member learns by its own loss.

    Raises:
        DivergenceError: the loss is no number.
    """
    log_odds = network(batch.numbers, batch.codes)  # (batch, members)
    targets = batch.targets[:, None].expand_as(log_odds)
    # The sum over members, so that each learns as fast as it would alone.
    loss = F.binary_cross_entropy_with_logits(log_odds, targets) * config.members
    if not math.isfinite(loss.item()):
        raise DivergenceError(
            f"the loss is {loss.item()} in epoch {epoch + 1}: expected a number; try a lower learning_rate than "
            f"{config.learning_rate}"
        )
    accelerator.backward(loss)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def evaluate(network: nn.Module, inputs: Inputs) -> float:
    """The logarithmic loss of the ensemble."""
    return float(F.binary_cross_entropy_with_logits(predict(network, inputs), inputs.targets))


@torch.no_grad()
def predict(network: nn.Module, inputs: Inputs) -> Tensor:
    """The log-odds of the ensemble, (rows,)."""
    network.eval()
    log_odds: Tensor = network(inputs.numbers, inputs.codes).mean(1)
    return log_odds


def to_device(inputs: Inputs, accelerator: Accelerator) -> Inputs:
    """The inputs where the network is."""
    device = accelerator.device
    return Inputs(inputs.numbers.to(device), inputs.codes.to(device), inputs.targets.to(device))


def check_folds(config: Config, table: Table) -> None:
    """Check that each fold can have two rows of either target.

    Raises:
        SettingError: it cannot.
    """
    rarer = int(min(np.bincount(table.targets)))
    if rarer < 2 * config.folds:
        raise SettingError(
            f"folds: {config.folds} for {rarer} rows of the rarer target, expected at most {rarer // 2}: two in each"
        )


def save(state: State, config: Config, table: Table, path: Path) -> None:
    """Write the state with the configuration and the table that it belongs to."""
    facts = {
        "config": asdict(config),
        "table": table.sha256,
        "records": state.records,
        "seconds": state.seconds,
    }
    save_checkpoint(path, {"predictions": state.predictions}, [], facts)


def restore(state: State, config: Config, table: Table, path: Path) -> None:
    """Go on where a checkpoint of the same configuration and table stands.

    Raises:
        SettingError: there is none, or it is of another.
    """
    facts = load_facts_of(path, config)
    if facts["table"] != table.sha256:
        raise SettingError(f"resume: '{path}' was made with another table than '{config.data}' is now")
    load_checkpoint(path, {"predictions": state.predictions}, [])
    state.records, state.seconds = facts["records"], facts["seconds"]
