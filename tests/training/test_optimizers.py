import pytest
import torch
from torch import nn

from training.optimizers import OPTIMIZERS, SCHEDULES, build_optimizers, learning_rate_factor, orthogonalise


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_learns_a_line(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    target = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 0.7
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizers = build_optimizers(name, network, learning_rate=0.05, momentum=0.5, weight_decay=0.0)

    def loss() -> torch.Tensor:
        return nn.functional.mse_loss(network(x), target)

    before = loss().item()
    for _ in range(400):
        loss().backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert loss().item() < 0.2 * before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainable_parameter_belongs_to_one_optimiser(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    network[0].weight.requires_grad_(False)
    optimizers = build_optimizers(name, network, 0.1, 0.9, 0.01)
    held = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters() if p.requires_grad)


def test_weight_decay_spares_biases_and_norms() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for name in ("adamw", "muon"):
        groups = [g for o in build_optimizers(name, network, 0.1, 0.9, 0.3) for g in o.param_groups]
        decays = {id(p): group.get("weight_decay", 0.0) for group in groups for p in group["params"]}
        assert decays[id(network[0].bias)] == decays[id(network[1].weight)] == 0.0


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalising_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), iterations=5))
    assert values.min() > 0.4
    assert values.max() < 1.6


def test_a_schedule_warms_up_and_falls() -> None:
    assert learning_rate_factor("cosine", 0.1, 0.0) == 0.0
    assert learning_rate_factor("cosine", 0.1, 0.05) == pytest.approx(0.5)
    for schedule in SCHEDULES:
        assert learning_rate_factor(schedule, 0.1, 0.1) == 1.0
    assert learning_rate_factor("linear", 0.0, 0.75) == 0.25
    assert learning_rate_factor("cosine", 0.0, 0.5) == pytest.approx(0.5)
    assert learning_rate_factor("step", 0.0, 0.6) == pytest.approx(0.1)
    assert learning_rate_factor("step", 0.0, 0.8) == pytest.approx(0.01)
    assert learning_rate_factor("constant", 0.0, 0.9) == 1.0
