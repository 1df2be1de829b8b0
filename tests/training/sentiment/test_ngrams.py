import numpy as np
import pytest
import torch

from models.text import TokenIds
from training.sentiment.batches import pad
from training.sentiment.ngrams import NgramClassifier, find_buckets, fit_ngrams

VOCABULARY = 20
BUCKETS = 512


def of(*texts: list[int]) -> list[TokenIds]:
    return [np.array(text, np.int32) for text in texts]


def fit(texts: list[TokenIds], labels: list[int], longest: int = 2, classes: int = 2) -> NgramClassifier:
    return fit_ngrams(
        texts,
        np.array(labels),
        classes,
        vocabulary=VOCABULARY,
        longest=longest,
        weights=BUCKETS,
        regularisation=1.0,
    )


def test_tokens_have_buckets_of_their_own_and_longer_runs_share_the_rest() -> None:
    found = find_buckets(torch.tensor([[3, 4, 5, 3, 4]]), VOCABULARY, BUCKETS, 3).tolist()[0]
    tokens, pairs, triples = found[:5], found[5:10], found[10:]
    assert tokens == [3, 4, 5, 3, 4]
    assert pairs[4] == 0
    assert triples[3:] == [0, 0]
    assert pairs[0] == pairs[3]
    assert len({*pairs[:3], *triples[:3]}) == 6
    assert all(VOCABULARY <= bucket < BUCKETS for bucket in (*pairs[:4], *triples[:3]))


def test_the_order_of_two_tokens_makes_two_buckets() -> None:
    buckets = find_buckets(torch.tensor([[3, 4], [4, 3]]), VOCABULARY, BUCKETS, 2)
    assert buckets[0, 2] != buckets[1, 2]


def test_a_text_of_one_token_has_no_pair() -> None:
    assert find_buckets(torch.tensor([[7]]), VOCABULARY, BUCKETS, 2).tolist() == [[7, 0]]


def test_an_ngram_counts_once_however_often_it_stands_in_a_text() -> None:
    weight = torch.zeros(BUCKETS, 2)
    weight[3], weight[4] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    classifier = NgramClassifier(weight, torch.tensor([0.5, 0.0]), VOCABULARY, 1)
    expected = [[0.5 + 1 / 2**0.5, 2 / 2**0.5]]
    assert torch.allclose(classifier(pad(of([3, 3, 3, 4, 3]))), torch.tensor(expected))
    assert torch.allclose(classifier(pad(of([3, 3, 3, 4, 3], [3] * 9)))[:1], torch.tensor(expected))


def test_weights_are_right_to_a_hundredth_of_the_largest_of_their_class_and_small_ones_to_less() -> None:
    torch.manual_seed(0)
    weight = torch.randn(BUCKETS, 3) * torch.tensor([1.0, 0.01, 100.0])
    weight[0], weight[1] = 0.0, weight.amax(0) / 1000
    classifier = NgramClassifier(weight, torch.zeros(3), VOCABULARY, 1)
    found = torch.cat([classifier(torch.tensor([[token]])) for token in range(1, VOCABULARY)])
    errors = (found - weight[1:VOCABULARY]).abs() / weight.abs().amax(0)
    assert (errors < 1 / 100).all()
    assert (errors[0] < 1 / 4000).all()
    assert not NgramClassifier(0 * weight, torch.zeros(3), VOCABULARY, 1)(torch.tensor([[3, 4]])).any()


def test_two_classes_share_their_weights() -> None:
    weight = torch.zeros(BUCKETS, 1)
    weight[3] = 2.0
    classifier = NgramClassifier(weight, torch.tensor([0.5, -0.5]), VOCABULARY, 1)
    assert torch.allclose(classifier(torch.tensor([[3, 4]])), torch.tensor([[0.5 - 2**0.5, 2**0.5 - 0.5]]))


def test_logits_do_not_depend_on_the_padding() -> None:
    torch.manual_seed(0)
    weight = torch.randn(BUCKETS, 3)
    weight[0] = 0.0
    classifier = NgramClassifier(weight, torch.zeros(3), VOCABULARY, 2)
    texts = of([5], [1, 2, 3, 2, 3], [7] * 9 + [8] * 31)
    alone = torch.cat([classifier(pad([text])) for text in texts])
    assert torch.allclose(classifier(pad(texts)), alone, atol=1e-5)


def test_a_pair_tells_what_its_tokens_do_not() -> None:
    # "not good" and "bad" against "good" and "not bad": every token is as often in either class.
    negation, good, bad = 5, 6, 7
    generator = np.random.default_rng(0)
    texts, labels = [], []
    for number in range(200):
        label, turned = number % 2, number // 2 % 2
        word = good if label != turned else bad
        around = generator.integers(10, VOCABULARY, 4).tolist()
        texts.append([*around[:2], *([negation] if turned else [around[3]]), word, around[2]])
        labels.append(label)
    rows = of(*texts)
    answers = fit(rows, labels)(pad(rows)).argmax(1).numpy()
    assert (answers == labels).mean() > 0.95
    assert (fit(rows, labels, longest=1)(pad(rows)).argmax(1).numpy() == labels).mean() < 0.8


def test_three_classes_are_told_apart_and_two_have_logits_that_mirror_each_other() -> None:
    texts = of(*([label + 3, 9, 9, 12] for label in (0, 1, 2) * 10))
    labels = [0, 1, 2] * 10
    assert fit(texts, labels, classes=3)(pad(texts)).argmax(1).tolist() == labels
    logits = fit(texts, [label % 2 for label in labels])(pad(texts))
    assert torch.allclose(logits[:, 0], -logits[:, 1])


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_padding_has_no_weight(longest: int) -> None:
    classifier = fit(of([3, 4, 5], [6, 7], [3, 4], [7, 6, 7]), [0, 1, 0, 1], longest)
    assert classifier.root[0].tolist() == [0]
    assert torch.allclose(classifier(torch.zeros(1, 4, dtype=torch.int64)), classifier.bias)
