"""Features say what the training rows say, and the served network what its ensemble says."""

import numpy as np
import pytest
import torch

from training.churn.model import ChurnNetwork, RowEncoder, ServedNetwork

NAN = float("nan")
NUMBERS = torch.tensor([[0.0, NAN], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 9.0]])
# Two columns of two categories; the third and the last place, "unknown", never occur.
CODES = torch.tensor([[0, 3], [0, 4], [1, 3], [1, 3], [1, 3]])
COLUMNS = (0, 0, 0, 1, 1, 1)


def encode(numbers: list[float], codes: list[int], bins: int = 2) -> list[float]:
    encoder = RowEncoder(NUMBERS, CODES, COLUMNS, bins)
    features: list[float] = encoder(torch.tensor([numbers]), torch.tensor([codes]))[0].tolist()
    return features


def test_a_number_fills_the_pieces_between_its_quantiles() -> None:
    assert encode([1.0, 9.0], [0, 3])[:2] == [0.5, 0.0]
    assert encode([3.0, 9.0], [0, 3])[:2] == [1.0, 0.5]
    assert encode([-7.0, 9.0], [0, 3])[:2] == [0.0, 0.0]
    assert encode([70.0, 9.0], [0, 3])[:2] == [1.0, 1.0]


def test_a_number_that_many_rows_share_is_a_step() -> None:
    step, rest = encode([0.0, 5.0], [0, 3])[2:4]
    assert (step, rest) == (0.0, 0.0)
    assert encode([0.0, 7.0], [0, 3])[2:4] == [1.0, 0.5]


def test_a_missing_number_has_a_feature_where_training_saw_one_and_is_average_else() -> None:
    means = RowEncoder(NUMBERS, CODES, COLUMNS, 2).means.tolist()
    assert encode([NAN, 5.0], [0, 3])[:2] == means[:2]
    assert encode([0.0, 5.0], [0, 3])[4] == 0.0
    assert encode([0.0, NAN], [0, 3])[4] == 1.0


def test_a_category_is_one_in_its_place_and_an_unknown_one_is_average() -> None:
    assert encode([0.0, 5.0], [1, 4])[5:] == [0.0, 1.0, 0.0, 1.0]
    assert encode([0.0, 5.0], [2, 3])[5:] == pytest.approx([0.4, 0.6, 1.0, 0.0])


def test_the_means_are_those_of_the_training_rows() -> None:
    encoder = RowEncoder(NUMBERS, CODES, COLUMNS, 3)
    features = encoder(NUMBERS, CODES)
    assert torch.allclose(features.mean(0), encoder.means)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_served_network_says_the_calibrated_mean_of_its_members(layers: int) -> None:
    torch.manual_seed(0)
    encoder = RowEncoder(NUMBERS, CODES, COLUMNS, 2)
    network = ChurnNetwork(encoder, hidden=4, layers=layers, members=3, dropout=0.5, share=0.3).eval()
    probabilities, log_odds = ServedNetwork(network, temperature=2.0)(NUMBERS, CODES)
    expected = network(NUMBERS, CODES).mean(1, keepdim=True) / 2
    assert torch.allclose(log_odds, expected, atol=1e-6)
    assert torch.allclose(probabilities, torch.cat((1 - expected.sigmoid(), expected.sigmoid()), 1), atol=1e-6)


def test_members_do_not_share_what_they_learn() -> None:
    encoder = RowEncoder(NUMBERS, CODES, COLUMNS, 2)
    network = ChurnNetwork(encoder, hidden=4, layers=2, members=3, dropout=0.0, share=0.3)
    network(NUMBERS, CODES)[:, 1].sum().backward()
    gradients = np.array([float(part.abs().sum()) for part in network.weights[0].grad])
    assert (gradients > 0).tolist() == [False, True, False]


def test_a_table_of_numbers_or_of_words_alone_has_features() -> None:
    numbers = RowEncoder(NUMBERS, torch.empty(5, 0, dtype=torch.long), (), 2)
    assert numbers(NUMBERS, None).shape == (5, 5)
    words = RowEncoder(torch.empty(5, 0), CODES, COLUMNS, 2)
    assert words(None, CODES).shape == (5, 4)
