import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.sentiment.adversarial import perturb_by_label, virtual_adversarial_loss


def classify(vectors: Tensor) -> Tensor:
    """Logits that know the first dimension alone."""
    return vectors[:, :, 0].sum(1)[:, None] * torch.tensor([1.0, -1.0])


def test_the_change_by_label_has_the_size_asked_for_and_raises_the_loss() -> None:
    vectors = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1])
    loss = F.cross_entropy(classify(vectors), labels, reduction="none")
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    change = perturb_by_label(vectors.grad, 0.5)
    assert change.flatten(1).norm(dim=1).tolist() == pytest.approx([0.5] * 4)
    assert (F.cross_entropy(classify(vectors + change), labels, reduction="none") > loss).all()


def test_the_change_by_prediction_finds_what_the_network_looks_at() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = (torch.randn(8, 6, 3, generator=generator) * 0.1).requires_grad_()
    present = torch.ones(8, 6, dtype=torch.bool)
    loss = virtual_adversarial_loss(classify, vectors, present, 1.0, 0.1, generator)
    noise = torch.randn(vectors.shape, generator=generator)
    noise = noise / noise.flatten(1).norm(dim=1)[:, None, None]
    before, after = (F.log_softmax(classify(some), 1) for some in (vectors, vectors + noise))
    random = F.kl_div(after, before, reduction="batchmean", log_target=True)
    assert loss > 3 * random
    loss.backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert vectors.grad.abs().sum() > 0
