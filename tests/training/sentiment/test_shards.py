"""What a batch teaches does not depend on how it is computed."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.training.sentiment.reviews import make_reviews, write_csv
from training.command import build_config
from training.sentiment.shards import Shards
from training.sentiment.train import RECIPES, Config, Part, State, load_and_tokenize, start, train_step

CPU = torch.device("cpu")


@pytest.mark.parametrize("adversarial", ["none", "label"])
def test_parts_of_a_batch_teach_what_the_whole_of_it_does(tmp_path: Path, adversarial: str) -> None:
    data = write_csv(tmp_path / "own.csv", make_reviews(60, classes=3))
    small = {
        "vocabulary_size": 300,
        "dimensions": 12,
        "hidden": 12,
        "precision": "fp32",
        "pretrain": "none",
        "ngrams": 0,
    }
    sure = {"embedding_dropout": 0.0, "word_dropout": 0.0, "dropout": 0.0}
    config = build_config(Config, RECIPES, {"data": str(data), "adversarial": adversarial, **small, **sure})
    texts = load_and_tokenize(config, tmp_path / "cache")
    labels = torch.from_numpy(texts.data.train.labels)

    def learn(count: int) -> State:
        state, shards = start(config, texts, tmp_path / "cache", Accelerator()), Shards(CPU, count)
        for begin in (0, 16):
            rows = list(range(begin, begin + 15))
            parts = [Part([texts.train[row] for row in part], labels[part], [], None, 0) for part in shards.split(rows)]
            assert len(parts) == count
            train_step(config, state, parts, 0.1, shards, Accelerator())
        return state

    torch.manual_seed(0)
    whole = learn(1)
    before = deepcopy(start(config, texts, tmp_path / "cache", Accelerator()).network.state_dict())
    for name, value in learn(4).network.state_dict().items():
        expected = whole.network.state_dict()[name]
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(before["classifier.weight"], whole.network.classifier.weight)


def test_cores_with_matrix_units_compute_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert Shards(CPU).split([1, 2, 3]) == [[1, 2, 3]]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert Shards(CPU).split([1, 2, 3]) == [[1, 3], [2]]
