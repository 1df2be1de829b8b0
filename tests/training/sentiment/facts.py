"""A small network that has learnt small reviews, and what its card is made from."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from models.manifest import DataSource, Manifest, Provenance, TensorSpec
from models.text import TextPreprocessing, TextReader
from training.metrics import classification_metrics
from training.sentiment.batches import pad
from training.sentiment.card import CardFacts
from training.sentiment.model import Ends
from training.sentiment.tokenizer import UNKNOWN_ID, train_tokenizer

LABELS = ("negative", "positive")
SUBJECTS = ("The plot", "The music", "This actor", "The war scene", "Every child in it", "The horror")
OPINIONS = (
    ("is terrible, boring and far too long", "was dull<br />and a waste of money", "is not funny, 2 of 10"),
    ("is excellent, funny and moving", "was wonderful<br />and worth the money", "is brilliant, 10 of 10"),
)
READING = TextPreprocessing(max_tokens=20, head_tokens=10, unknown_id=UNKNOWN_ID)
DIMENSIONS = 16
WEIGHTS = {"network_weight": 0.6, "ngrams_weight": 0.25, "accuracy_of_network": 0.875, "accuracy_of_ngrams": 0.85}


def write_reviews() -> tuple[list[str], list[int]]:
    """Reviews of one to six sentences, and their labels."""
    generator = np.random.default_rng(0)
    texts, labels = [], []
    for number in range(80):
        label = number % len(LABELS)
        sentences = [
            f"{generator.choice(SUBJECTS)} {generator.choice(OPINIONS[label])}." for _ in range(1 + number // 2 % 6)
        ]
        texts.append(" ".join(sentences))
        labels.append(label)
    return texts, labels


def describe(labels: tuple[str, ...], metrics: dict[str, Any], data_name: str = "reviews") -> Manifest:
    data = DataSource(
        name=data_name,
        source="eighty texts",
        sha256="ab" * 32,
        train_examples=40,
        validation_examples=10,
        test_examples=40,
    )
    provenance = Provenance(
        command="python -m training sentiment --architecture bilstm",
        seed=7,
        data=data,
        settings={
            "architecture": "bilstm",
            "pooling": "max",
            "epochs": 3,
            "ngrams": 2,
            "ngram_weights": 512,
            "unlabelled_weight": 0.5,
        },
        libraries={"torch": "2.14.1"},
        hardware="a processor",
        training_seconds=300.0,
    )
    return Manifest(
        kind="sentiment",
        version=3,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        task="text-classification",
        description="Tells the sentiment of a text.",
        architecture="bilstm",
        parameters=4_170,
        inputs=(TensorSpec(name="token_ids", dtype="int32", shape=("batch", "sequence")),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=("batch", len(labels))),),
        labels=labels,
        preprocessing=READING,
        metrics=metrics,
        provenance=provenance,
    )


@cache
def learn() -> CardFacts:
    """Train on half of the reviews for a moment; the other half is the test split."""
    torch.manual_seed(0)
    texts, labels = write_reviews()
    test_texts, test_labels = texts[1::4] + texts[2::4], labels[1::4] + labels[2::4]
    train_texts, train_labels = texts[0::4] + texts[3::4], torch.tensor(labels[0::4] + labels[3::4])
    tokenizer = train_tokenizer(train_texts, 300)
    ids = tokenizer.get_vocab()
    vocabulary = sorted(ids, key=ids.__getitem__)
    reader = TextReader(tokenizer, READING)
    train, test = ([reader.read(text) for text in part] for part in (train_texts, test_texts))
    network = nn.Sequential(nn.EmbeddingBag(len(vocabulary), DIMENSIONS, padding_idx=0), nn.Linear(DIMENSIONS, 2))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    history = []
    for epoch in range(1, 4):
        logits = network(pad([reading.ids for reading in train]))
        loss = nn.functional.cross_entropy(logits, train_labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        accuracy = float((logits.argmax(1) == train_labels).float().mean())
        figures = {"loss": loss.item(), "accuracy": accuracy}
        splits = ("train", "validation")
        history.append(
            {"epoch": float(epoch), **{f"{split}_{name}": figures[name] for split in splits for name in figures}}
        )
    with torch.no_grad():
        probabilities = network(pad([reading.ids for reading in test])).softmax(1).numpy()
    targets = np.array(test_labels)
    metrics = {**classification_metrics(probabilities, targets, LABELS), **WEIGHTS, "truncated_share": 0.5}
    rows = np.concatenate([reading.ids for reading in train])
    return CardFacts(
        manifest=describe(LABELS, metrics),
        history=history,
        pretraining=[
            {"epoch": epoch, "forward_loss": 6 / epoch, "backward_loss": 7 / epoch, "validation_loss": 5 / epoch}
            for epoch in (1.0, 2.0)
        ],
        texts=test_texts,
        labels=targets,
        probabilities=probabilities,
        tokens=np.array([reading.tokens for reading in test]),
        embeddings=next(network.parameters()).detach().numpy(),
        vocabulary=vocabulary,
        counts=np.bincount(rows, minlength=len(vocabulary)),
        learnt=Ends(4, 8),
        unlabelled=60,
        leans=np.linspace(-2, 2, len(vocabulary), dtype=np.float32),
    )
