import pytest
import torch
from torch import nn

from training.averaging import average_weights


def follow(decay: float, values: list[float]) -> float:
    network = nn.Linear(1, 1, bias=False)
    average = average_weights(network, decay)
    for value in values:
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
    return float(average.module.get_parameter("weight").detach())


def test_without_decay_the_average_is_the_last_step() -> None:
    assert follow(0.0, [1.0, 5.0, 3.0]) == 3.0


def test_the_first_weights_are_soon_forgotten() -> None:
    assert follow(0.999, [100.0] + [1.0] * 30) == pytest.approx(1.0, abs=0.1)


def test_after_many_steps_the_decay_is_the_one_asked_for() -> None:
    assert follow(0.9, [0.0] * 200 + [1.0]) == pytest.approx(0.1)


def test_statistics_of_batch_norms_are_averaged_too() -> None:
    network = nn.BatchNorm1d(2)
    average = average_weights(network, 0.5)
    average.update_parameters(network)
    network(torch.full((4, 2), 10.0))
    average.update_parameters(network)
    running = average.module.get_buffer("running_mean")
    assert 0 < float(running[0]) <= 1.0
    assert int(average.module.get_buffer("num_batches_tracked")) == 1
