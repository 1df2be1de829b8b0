"""What the network is measured against on the same folds: logistic regression and gradient-boosted trees."""

import numpy as np
from catboost import CatBoostClassifier, Pool
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from training.churn.data import Fold, hold_out
from training.table import Table

BASELINES = ("logistic_regression", "catboost")
MAX_ITERATIONS = 2000
TREES = 1000
DEPTH = 4
LEARNING_RATE = 0.05
PATIENCE = 50


def predict_baselines(table: Table, fold: Fold, seed: int) -> dict[str, NDArray[np.float64]]:
    """Of each baseline the probabilities of churn for the fold's test rows, learnt from its training rows."""
    return {
        "logistic_regression": _predict_logistic_regression(table, fold),
        "catboost": _predict_catboost(table, fold, seed),
    }


def _predict_logistic_regression(table: Table, fold: Fold) -> NDArray[np.float64]:
    """Standardised numbers, medians and a mark where they are missing; categories one by one."""
    numbers = list(range(table.numbers.shape[1]))
    texts = list(range(len(numbers), len(numbers) + table.texts.shape[1]))
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=MAX_ITERATIONS))
    rows = np.concatenate([table.numbers.astype(object), table.texts], axis=1)
    model.fit(rows[fold.train], table.targets[fold.train])
    probabilities: NDArray[np.float64] = model.predict_proba(rows[fold.test])[:, 1]
    return probabilities


def _predict_catboost(table: Table, fold: Fold, seed: int) -> NDArray[np.float64]:
    """Trees until the loss on a fifth of the training rows stops falling."""
    learnt, watched = hold_out(fold.train, table.targets, seed)
    model = CatBoostClassifier(
        iterations=TREES,
        depth=DEPTH,
        learning_rate=LEARNING_RATE,
        random_seed=seed,
        allow_writing_files=False,
        verbose=False,
    )
    model.fit(_pool(table, learnt), eval_set=_pool(table, watched), early_stopping_rounds=PATIENCE)
    probabilities: NDArray[np.float64] = model.predict_proba(_pool(table, fold.test))[:, 1]
    return probabilities


def _pool(table: Table, rows: NDArray[np.int64]) -> Pool:
    numeric = table.numbers.shape[1]
    values = np.concatenate([table.numbers[rows].astype(object), table.texts[rows]], axis=1)
    return Pool(values, table.targets[rows], cat_features=list(range(numeric, values.shape[1])))
