import pytest
import torch

from training.pruning import Pruning


def make(share: float) -> Pruning:
    """Of 1,000 examples with losses, three quarters below the mean."""
    pruning = Pruning(1000, share)
    losses = torch.linspace(0.5, 1.5, 1000)
    losses[torch.arange(1000) % 4 == 0] += 5
    pruning.update(losses, torch.ones(1000))
    return pruning


def test_an_epoch_leaves_out_a_share_of_what_is_known_and_nothing_else() -> None:
    rows, weights = make(0.4).draw(0.5, torch.Generator().manual_seed(0))
    assert len(rows) == len(set(rows.tolist()))
    known = rows[rows % 4 != 0]
    assert len(rows) - len(known) == 250
    assert len(known) == pytest.approx(750 * 0.6, rel=0.1)
    assert weights[1::4].tolist() == pytest.approx([1 / 0.6] * 250)
    assert weights[::4].tolist() == [1.0] * 250


def test_the_losses_of_what_is_left_add_up_to_those_of_all_on_average() -> None:
    pruning, generator = make(0.5), torch.Generator().manual_seed(0)
    sums = [
        (pruning.losses * weights)[rows].sum() for rows, weights in (pruning.draw(0.2, generator) for _ in range(50))
    ]
    assert float(torch.stack(sums).mean()) == pytest.approx(float(pruning.losses.sum()), rel=0.01)


@pytest.mark.parametrize(("share", "progress", "seen"), [(0.5, 0.95, 1.0), (0.0, 0.2, 1.0), (0.5, 0.2, 0.0)])
def test_all_is_learnt_from_in_the_last_epochs_or_where_no_share_is_asked_for_or_nothing_known(
    share: float, progress: float, seen: float
) -> None:
    pruning = Pruning(100, share)
    pruning.update(torch.rand(100, generator=torch.Generator().manual_seed(1)), torch.full((100,), seen))
    rows, weights = pruning.draw(progress, torch.Generator().manual_seed(2))
    assert rows.tolist() != sorted(rows.tolist()) == list(range(100))
    assert weights.tolist() == [1.0] * 100


def test_what_was_not_seen_keeps_its_loss() -> None:
    pruning = make(0.5)
    before = pruning.losses.clone()
    seen = torch.arange(1000) < 300
    pruning.update(torch.full((1000,), 9.0), seen.float())
    assert pruning.losses[:300].tolist() == [9.0] * 300
    assert torch.equal(pruning.losses[300:], before[300:])
