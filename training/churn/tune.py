"""The search for settings that suit a table, by Optuna. A search that was stopped goes on where it stood."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

STORAGE_FILE = "search.journal"

Settings = Mapping[str, Any]


def search_settings(
    measure: Callable[[Settings], float], trials: int, path: Path, name: str, seed: int
) -> dict[str, Any]:
    """The settings with the lowest loss among ``trials`` that a tree-structured Parzen estimator proposes.

    Args:
        measure: the loss of settings, on rows that they were not learnt from.
        trials: how many are tried, those of an earlier run among them.
        path: where what was tried is kept.
        name: of this search; several may share a file.
        seed: decides what is tried; with the number of the trial, so that a resumed search tries the same.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
    for number in range(len(study.get_trials(states=(TrialState.COMPLETE,))), trials):
        study.sampler = TPESampler(seed=seed * 1_000_003 + number)
        study.optimize(lambda trial: measure(_propose(trial)), n_trials=1)
    return dict(study.best_params)


def _propose(trial: Trial) -> Settings:
    return {
        "hidden": trial.suggest_categorical("hidden", [16, 32, 64, 128]),
        "layers": trial.suggest_int("layers", 1, 2),
        "bins": trial.suggest_int("bins", 4, 24, step=4),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "learning_rate": trial.suggest_float("learning_rate", 5e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
    }
