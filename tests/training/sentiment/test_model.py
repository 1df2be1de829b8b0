from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from training.sentiment.batches import draw_batches, pad, sort_batches
from training.sentiment.model import ARCHITECTURES, POOLINGS, Ends, Reader, SentimentNetwork, reverse


def test_of_long_texts_the_ends_are_read_and_short_ones_whole() -> None:
    ends, generator = Ends(3, 5), np.random.default_rng(0)
    texts = [generator.integers(1, 50, length).astype(np.int32) for length in (1, 3, 7, 8, 9, 30)]
    taken = ends.take(texts)
    assert [len(text) for text in taken] == [1, 3, 7, 8, 8, 8]
    assert taken[5].tolist() == [*texts[5][:3], *texts[5][-5:]]


def network(architecture: str = "bilstm", pooling: str = "max", layers: int = 1) -> SentimentNetwork:
    torch.manual_seed(0)
    module = SentimentNetwork(Reader(architecture, 50, 8, 6, layers, 0.0), pooling, 3).eval()
    nn.init.normal_(module.classifier.weight)  # it begins with zeros, which tell nothing apart
    return module


def texts(count: int = 20) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, 50, generator.integers(1, 30)).astype(np.int32) for _ in range(count)]


@pytest.mark.parametrize(("architecture", "pooling"), [*product(ARCHITECTURES, POOLINGS)])
def test_a_text_has_the_same_logits_alone_and_beside_the_longest(architecture: str, pooling: str) -> None:
    module = network(architecture, pooling, layers=2)
    with torch.no_grad():
        together = module(pad(texts()))
        alone = torch.cat([module(pad([text])) for text in texts()])
    assert together.shape == (20, 3)
    assert torch.allclose(together, alone, atol=1e-6)


def test_every_token_of_a_text_can_change_its_logits() -> None:
    module = network(pooling="last")
    vectors = module.reader.embedding(pad(texts(4))).detach().requires_grad_()
    lengths = torch.tensor([len(text) for text in texts(4)])
    module.classify(vectors, lengths).sum().backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    for row, length in enumerate(lengths):
        assert (vectors.grad[row, :length].norm(dim=1) > 0).all()
        assert (vectors.grad[row, length:] == 0).all()


def test_pooled_values_are_brought_to_one_scale() -> None:
    module = network(pooling="concat")
    pooled = torch.cat([module.pool_texts(pad([text])) for text in texts()]).detach()
    module.set_scale(pooled)
    scaled = (pooled - module.mean) / module.deviation
    assert torch.allclose(scaled.mean(0), torch.zeros(36), atol=1e-5)
    assert torch.allclose(scaled.std(0), torch.ones(36), atol=1e-4)
    answered = module.classifier(scaled[:1])
    assert torch.allclose(module(pad(texts()[:1])), answered, atol=1e-5)


def test_reversing_turns_each_text_and_leaves_padding_behind() -> None:
    values = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])[:, :, None]
    turned = reverse(values, torch.tensor([3, 4])).squeeze(2)
    assert turned.tolist() == [[3, 2, 1, 0], [7, 6, 5, 4]]


def test_an_epoch_has_every_row_once_in_batches_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 500)
    batches = list(draw_batches(lengths, 16, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert max(map(len, batches)) == 16
    padded = sum(lengths[rows].max() * len(rows) for rows in batches)
    assert padded < 1.1 * lengths.sum()
    assert sorted(np.concatenate(sort_batches(lengths, 16))) == list(range(500))
