"""Cards written from a small trained network on small reviews."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.sentiment.facts import LABELS, describe, learn
from training.metrics import classification_metrics
from training.sentiment.card import CardFacts, write_card

KILOBYTE = 1000


@pytest.fixture
def facts() -> CardFacts:
    return learn()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a card as it mostly is."""
    folder = tmp_path_factory.mktemp("card")
    write_card(folder, learn())
    return folder


def answer(
    facts: CardFacts, probabilities: NDArray[np.float32], labels: NDArray[np.int64], names: tuple[str, ...]
) -> CardFacts:
    """``facts`` of a network that answers ``probabilities``."""
    metrics = {**classification_metrics(probabilities, labels, names), "network_weight": 1.0}
    return replace(facts, probabilities=probabilities, labels=labels, manifest=describe(names, metrics))


def write(folder: Path, facts: CardFacts) -> str:
    write_card(folder, facts)
    return read(folder)


def read(folder: Path) -> str:
    return (folder / "card.md").read_text(encoding="utf-8")


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_the_card_says_what_the_manifest_says(facts: CardFacts, written: Path) -> None:
    card = read(written)
    headings = re.findall(r"^#+ (.+)$", card, flags=re.MULTILINE)
    sections = ["Model details", "Intended use", "Data", "Training", "Results", "By length", "Mistakes", "Words"]
    assert headings == ["sentiment, version 3", *sections, "Limits", "How to make it again"]
    assert f"| Accuracy | {facts.manifest.metrics['accuracy']:.2%} |" in card
    for fact in (
        "4,170 parameters",
        "network's logits are multiplied by 0.600",
        "the n-grams have one of 85.00%",
        "5 minutes",
        "--architecture bilstm",
        "pooling = max",
    ):
        assert fact in card
    for fact in (
        "LSTM, forwards and backwards",
        "of more than 20 tokens the first 10 and the last 10",
        "2.500 nats",
        "12 tok",
    ):
        assert fact in card
    for label in LABELS:
        assert f"| {label} | " in card


def test_the_card_says_what_is_read_and_from_what_the_network_learnt(written: Path) -> None:
    card = read(written)
    assert "; of more than 20 tokens the first 10 and the last 10 |" in card
    assert "Of a long text the network learnt a part: of more than 12 tokens the first 4 and the last 8." in card


def test_every_picture_stands_in_the_card_and_is_small(written: Path) -> None:
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", read(written))
    files = pictures(written)
    assert sorted(linked) == list(files)
    assert len(files) == 5
    assert sum(map(len, files.values())) < 500 * KILOBYTE
    for name in files:
        with Image.open(written / name) as picture:
            assert 400 <= picture.width <= 1_200, name


def test_the_same_facts_give_the_same_bytes(facts: CardFacts, written: Path, tmp_path: Path) -> None:
    assert write(tmp_path, facts) == read(written)
    assert pictures(tmp_path) == pictures(written)


def test_what_was_read_in_part_is_told_apart(facts: CardFacts, written: Path) -> None:
    longer = facts.tokens > 18
    assert f"{longer.sum():,} ({longer.mean():.2%}) have more than the 18 that are read" in read(written)
    assert f"{facts.right[longer].mean():.2%} of them are right" in read(written)


def test_the_most_confidently_wrong_texts_are_quoted_in_that_order(facts: CardFacts, tmp_path: Path) -> None:
    probabilities = np.tile(np.array([0.9, 0.1], dtype=np.float32), (40, 1))
    probabilities[5], probabilities[7] = (0.99, 0.01), (0.98, 0.02)
    labels = np.zeros(40, dtype=np.int64)
    labels[[3, 5, 7]] = 1
    texts = list(facts.texts)
    texts[5] = "Not <b>bad</b>.<br /><br />See [this](http://example.com) | *now*"
    texts[7] = "word " * 200
    card = write(tmp_path, replace(answer(facts, probabilities, labels, LABELS), texts=texts))
    quoted = re.findall(r"^> (“.*”)$", card, flags=re.MULTILINE)
    assert [
        float(text) for text in re.findall(r"\*\*negative with ([\d.]+)%\*\*, but its label is positive", card)
    ] == [99.0, 98.0, 90.0]
    assert "3 of 40 test texts were mistaken" in card
    assert "<b>" not in card
    assert "<br" not in quoted[0]
    assert len(quoted[1]) <= 310
    assert " … " in quoted[1]


def test_a_classifier_without_mistakes_says_so(facts: CardFacts, tmp_path: Path) -> None:
    certain = np.eye(2, dtype=np.float32)[facts.labels]
    short = replace(answer(facts, certain, facts.labels, LABELS), tokens=np.full(40, 18))
    card = write(tmp_path, short)
    assert "No test text was mistaken." in card
    assert "None has more than the 18 that are read." in card
    assert "least often right" not in card


def test_a_smoke_training_with_one_epoch_and_no_pretraining_has_a_card(facts: CardFacts, tmp_path: Path) -> None:
    small = answer(facts, facts.probabilities[:2], facts.labels[:2], LABELS)
    card = write(
        tmp_path,
        replace(
            small, history=facts.history[:1], pretraining=(), texts=facts.texts[:2], tokens=facts.tokens[:2], leans=None
        ),
    )
    assert "\n1 epoch; best" in card
    assert "nats" not in card


def test_what_was_learnt_of_unlabelled_texts_is_told(facts: CardFacts, written: Path, tmp_path: Path) -> None:
    assert "as many of the 60 texts without a label" in read(written)
    assert "with a weight of 0.5" in read(written)
    assert "without a label" not in write(tmp_path, replace(facts, unlabelled=0))


def test_a_network_that_reads_forwards_only_has_one_loss_of_pretraining(facts: CardFacts, tmp_path: Path) -> None:
    records = [{"epoch": 1.0, "forward_loss": 6.0, "validation_loss": 5.0}]
    assert "to predict the next token of training texts: 1 epoch" in write(
        tmp_path, replace(facts, pretraining=records)
    )


def test_many_classes_with_odd_names_and_words_have_a_card(facts: CardFacts, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = tuple(f"class | $number$ {index} 中" for index in range(30))
    probabilities = generator.dirichlet(np.full(30, 0.1), size=40).astype(np.float32)
    vocabulary = ["很好", "👍", "$x$", "*_*", *facts.vocabulary[4:]]
    odd = replace(answer(facts, probabilities, np.arange(40) % 30, labels), vocabulary=vocabulary)
    card = write(tmp_path, replace(odd, counts=facts.counts + 1, leans=np.full(len(vocabulary), 0.5, np.float32)))
    assert "and 10 more" in card
    assert "| class &#124; &#36;number&#36; 7 中 | " in card


def test_the_card_of_imdb_compares_the_architectures_that_were_measured(
    facts: CardFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {
        "architecture": "lstm",
        "pooling": "last",
        "accuracy": 0.871,
        "validation_accuracy": 0.88,
        "parameters": 1_234_567,
        "training_seconds": 432.0,
        "command": "python -m training sentiment --architecture lstm",
        "hardware": "two cores",
        "seed": 0,
    }
    (tmp_path / "lstm.json").write_text(json.dumps(run))
    monkeypatch.setattr("training.sentiment.card.RESULTS", tmp_path)
    imdb = replace(facts, manifest=describe(LABELS, dict(facts.manifest.metrics), "imdb"))
    card = write(tmp_path, imdb)
    assert "## The three architectures and the poolings, trained from scratch for the same number of epochs" in card
    assert "| `lstm` | last | 87.10% | 88.00% | 1,234,567 | 7.2 minutes |" in card
    assert "--architecture lstm\n```" in card
    assert "film reviews in English" in card


def test_the_card_of_other_data_does_not(written: Path) -> None:
    assert "The three architectures" not in read(written)
    assert "film reviews" not in read(written)
