from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from training.checkpoint import load_checkpoint, load_facts, save_checkpoint
from training.errors import SettingError


def trained_pair() -> tuple[nn.Module, AdamW]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = AdamW(network.parameters(), lr=0.1)
    step(network, optimizer)
    return network, optimizer


def step(network: nn.Module, optimizer: AdamW) -> None:
    network(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_checkpoint_brings_back_weights_optimiser_and_facts(tmp_path: Path) -> None:
    network, optimizer = trained_pair()
    path = tmp_path / "run" / "checkpoint.safetensors"
    save_checkpoint(path, {"network": network}, [optimizer], {"epoch": 3})
    other: nn.Module = nn.Linear(3, 2)
    other_optimizer = AdamW(other.parameters(), lr=0.1)
    load_checkpoint(path, {"network": other}, [other_optimizer])
    assert load_facts(path) == {"epoch": 3}
    step(network, optimizer)
    step(other, other_optimizer)
    assert torch.equal(network.get_parameter("weight"), other.get_parameter("weight"))


def test_a_checkpoint_of_another_net_is_refused(tmp_path: Path) -> None:
    network, optimizer = trained_pair()
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"network": network}, [optimizer], {})
    with pytest.raises(SettingError, match="is no checkpoint of this training"):
        load_checkpoint(path, {"network": nn.Linear(5, 2)}, [])


def test_a_damaged_or_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    network, optimizer = trained_pair()
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"network": network}, [optimizer], {})
    path.write_bytes(path.read_bytes()[:-9])
    for file in (path, tmp_path / "missing.safetensors"):
        with pytest.raises(SettingError, match=f"resume: '{file}' is no checkpoint"):
            load_checkpoint(file, {"network": network}, [optimizer])
