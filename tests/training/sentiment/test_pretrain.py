from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from models.text import TokenIds
from training.errors import DivergenceError
from training.sentiment.model import Reader
from training.sentiment.pretrain import Pretraining, pretrain

VOCABULARY = 20
PLAN = Pretraining(
    texts="",
    architecture="bilstm",
    vocabulary=VOCABULARY,
    dimensions=16,
    hidden=24,
    layers=1,
    max_tokens=12,
    epochs=6,
    batch_size=8,
    learning_rate=0.02,
    negatives=10,
    precision="fp32",
    seed=0,
)


def counting_texts(count: int, seed: int = 0) -> list[TokenIds]:
    """Each token is followed by the next one, so that either direction can be told by heart."""
    generator = np.random.default_rng(seed)
    starts = generator.integers(4, VOCABULARY, count)
    return [np.array([2, *(4 + (start + np.arange(14)) % 16), 3], np.int32) for start in starts]


def learn(cache: Path, plan: Pretraining = PLAN) -> tuple[Reader, list[dict[str, float]]]:
    torch.manual_seed(0)
    reader = Reader("bilstm", VOCABULARY, plan.dimensions, plan.hidden, 1, 0.0)
    return reader, pretrain(reader, plan, counting_texts(200), counting_texts(20, 1), cache, Accelerator())


def test_both_directions_learn_which_token_comes(tmp_path: Path) -> None:
    _, records = learn(tmp_path)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["forward_loss"] < 0.3
    assert records[-1]["backward_loss"] < 0.3
    # What comes after [START] nobody can tell: one token of 15, among 16.
    assert records[-1]["validation_loss"] < 0.4 < records[0]["validation_loss"]


def test_a_finished_pretraining_is_used_again_and_a_stopped_one_goes_on(tmp_path: Path) -> None:
    whole, records = learn(tmp_path / "whole")
    again, same = learn(tmp_path / "whole")
    assert same == records
    assert torch.equal(again.embedding.weight, whole.embedding.weight)
    folder = next((tmp_path / "whole").rglob("checkpoint.safetensors")).parent
    assert folder.name == PLAN.digest
    assert replace(PLAN, seed=1).digest != PLAN.digest


def test_a_loss_that_is_no_number_stops_it_with_a_word(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"pre-training .* try a lower pretrain_learning_rate than 1e\+30"):
        learn(tmp_path, replace(PLAN, learning_rate=1e30))
