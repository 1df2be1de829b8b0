from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from accelerate import Accelerator

from models.manifest import load_golden
from models.repository import Repository
from models.text import TextPreprocessing, TextReader, load_tokenizer
from tests.training.sentiment.reviews import make_reviews, write_csv, write_imdb
from training.__main__ import main
from training.checkpoint import CHECKPOINT_FILE
from training.command import Places, build_config
from training.errors import DivergenceError, SettingError
from training.sentiment.graph import run_graph
from training.sentiment.publish import fit_ngrams_of
from training.sentiment.shards import Shards
from training.sentiment.teacher import Teacher
from training.sentiment.train import (
    RECIPES,
    Config,
    Part,
    State,
    load_and_tokenize,
    restore,
    run,
    save,
    start,
    train,
    train_step,
)
from training.statistics import remeasure

SMALL = {
    "vocabulary_size": 300,
    "dimensions": 12,
    "hidden": 12,
    "max_tokens": 40,
    "learnt_tokens": 30,
    "pretrain_epochs": 1,
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "embedding_dropout": 0.1,
    "perturbation": 1.0,
    "validation_fraction": 0.2,
    "average_decay": 0.9,
    "precision": "fp32",
    "ngram_weights": 4096,
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "own.csv", make_reviews(80, classes=3))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(models=tmp_path / "models", cache=tmp_path / "cache", output=tmp_path / "run")


def config(data: Path, **given: object) -> Config:
    return build_config(Config, RECIPES, {"data": str(data), **SMALL, **given})


def train_alone(settings: Config, places: Places) -> State:
    """Train without publishing."""
    accelerator = Accelerator()
    texts = load_and_tokenize(settings, places.cache)
    state = start(settings, texts, places.cache, accelerator)
    train(settings, state, texts, accelerator, places.output)
    return state


def weights(state: State) -> list[torch.Tensor]:
    return list(state.served.state_dict().values())


@pytest.mark.parametrize(
    "given",
    [
        {"architecture": "bilstm"},
        {"architecture": "lstm", "pooling": "max", "epochs": 6},
        {"architecture": "gru", "pooling": "attention", "epochs": 6, "layers": 2},
    ],
)
def test_a_file_of_three_classes_becomes_a_version_that_tells_them_apart(
    csv: Path, places: Places, given: dict[str, object]
) -> None:
    manifest = run(config(csv, **given), places, resume=False)
    assert manifest is not None
    assert Repository(places.models).load("sentiment", 1) == manifest
    assert manifest.labels == ("bad", "good", "mixed")
    accuracy = manifest.metrics["accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy > 0.9
    folder = places.models / "sentiment" / "1"
    assert isinstance(manifest.preprocessing, TextPreprocessing)
    reader = TextReader(load_tokenizer(folder), manifest.preprocessing)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    readings = reader.read_all(["A tedious, awful plot.", "Superb! Brilliant actors."])
    said = run_graph(session, [reading.ids for reading in readings])
    assert said.argmax(1).tolist() == [0, 1]
    assert load_golden(folder).examples
    statistics = manifest.statistics
    assert statistics is not None
    data = manifest.provenance.data
    assert (statistics.input_rows, statistics.prediction_rows) == (data.train_examples, data.test_examples)
    assert remeasure(folder, None, places.cache) == manifest


@pytest.mark.parametrize("adversarial", ["none", "label", "prediction"])
def test_every_way_of_learning_lowers_the_loss(csv: Path, places: Places, adversarial: str) -> None:
    state = train_alone(config(csv, adversarial=adversarial, pretrain="none", pooling="max"), places)
    assert state.history[-1]["train_loss"] < state.history[0]["train_loss"]


def test_unlabelled_reviews_are_read_before_and_beside_the_labelled_ones(tmp_path: Path, places: Places) -> None:
    state = train_alone(config(write_imdb(tmp_path), epochs=1), places)
    assert len(state.pretraining) == 1
    assert state.pretraining[0]["backward_loss"] > 0


@pytest.fixture(scope="module")
def imdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imdb(tmp_path_factory.mktemp("imdb"))


def test_unlabelled_reviews_teach_from_the_second_epoch_on(imdb: Path, tmp_path: Path) -> None:
    def learn(name: str, **given: object) -> list[torch.Tensor]:
        settings = config(imdb, adversarial="none", pretrain="none", **given)
        return weights(train_alone(settings, Places(tmp_path, tmp_path, tmp_path / name)))

    first, without = learn("a", epochs=1), learn("b", epochs=1, unlabelled_weight=0.0)
    assert all(torch.equal(a, b) for a, b in zip(first, without, strict=True))
    second, without = learn("c", epochs=2), learn("d", epochs=2, unlabelled_weight=0.0)
    assert not all(torch.equal(a, b) for a, b in zip(second, without, strict=True))


def test_every_labelled_review_is_learnt_beside_a_single_unlabelled_one(
    imdb: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(imdb, pretrain="none", epochs=2)
    texts = load_and_tokenize(settings, places.cache)
    texts = replace(texts, unlabelled=texts.unlabelled[:1])
    learnt: list[int] = []

    def count(settings: Config, state: State, parts: list[Part], *others: Any) -> tuple[float, int]:
        learnt.append(sum(len(part.labelled) for part in parts))
        return train_step(settings, state, parts, *others)

    monkeypatch.setattr("training.sentiment.train.train_step", count)
    train(settings, start(settings, texts, places.cache, Accelerator()), texts, Accelerator(), places.output)
    assert sum(learnt) == 2 * len(texts.train)


def test_what_is_thought_of_unlabelled_reviews_is_a_probability_of_each_class(imdb: Path, places: Places) -> None:
    settings = config(imdb, pretrain="none", learning_rate=0.05)
    texts = load_and_tokenize(settings, places.cache)
    state = start(settings, texts, places.cache, Accelerator())
    train(settings, state, texts, Accelerator(), places.output)
    rows, shards = np.array([2, 5, 11]), Shards(torch.device("cpu"))
    beliefs = Teacher(state.ngrams, texts, shards, Accelerator()).believe(state.served, rows)
    assert beliefs.shape == (20, 2)
    assert torch.allclose(beliefs[rows].sum(1), torch.ones(3))
    assert beliefs.sum() == pytest.approx(3)
    assert (beliefs[rows, 1] > 0.5).all()  # all of them are good


def test_the_ngrams_that_are_served_have_learnt_from_validation_texts_too(imdb: Path, places: Places) -> None:
    settings = config(imdb)
    texts = load_and_tokenize(settings, places.cache)
    unseen = next(token for token in range(2, texts.vocabulary) if not any(token in ids for ids in texts.train))
    labels = texts.data.validation.labels
    praised = [
        np.append(ids, np.int32(unseen)) if label else ids for ids, label in zip(texts.validation, labels, strict=True)
    ]
    texts = replace(texts, validation=praised)
    classifiers = [fit_ngrams_of(settings, texts, validation=validation) for validation in (False, True)]
    of_training, of_both = (float(some(torch.tensor([[unseen]]))[0, 1]) for some in classifiers if some)
    assert of_training < 0.1 < of_both


def test_a_network_learns_from_less_of_a_text_than_is_read_in_the_end(imdb: Path, places: Places) -> None:
    settings = config(imdb, max_tokens=60, learnt_tokens=20)
    texts = load_and_tokenize(settings, places.cache)
    assert (texts.preprocessing.max_tokens, texts.read, texts.learnt) == (60, (18, 42), (6, 14))
    texts = load_and_tokenize(replace(settings, max_tokens=10), places.cache)
    assert (texts.preprocessing.max_tokens, texts.read, texts.learnt) == (10, (3, 7), (3, 7))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(csv: Path, tmp_path: Path) -> None:
    states = [
        train_alone(config(csv, seed=seed, epochs=1), Places(tmp_path, tmp_path, tmp_path / str(number)))
        for number, seed in enumerate((5, 5, 6))
    ]
    first, again, other = map(weights, states)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("data", ["csv", "imdb"])
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    data: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(request.getfixturevalue(data))
    whole = train_alone(settings, Places(tmp_path, tmp_path, tmp_path / "whole"))
    places = Places(tmp_path, tmp_path, tmp_path / "stopped")

    accelerator = Accelerator()
    texts = load_and_tokenize(settings, places.cache)

    def save_and_stop(state: State, settings: Config, path: Path) -> None:
        save(state, settings, path)
        raise KeyboardInterrupt

    state = start(settings, texts, places.cache, accelerator)
    with monkeypatch.context() as patch:
        patch.setattr("training.sentiment.train.save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(settings, state, texts, accelerator, places.output)
    state = start(settings, texts, places.cache, accelerator)
    restore(state, settings, places.output / CHECKPOINT_FILE)
    assert state.epoch == 1
    train(settings, state, texts, accelerator, places.output)
    assert [record["epoch"] for record in state.history] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(state), strict=True))


def test_other_settings_cannot_resume(csv: Path, places: Places) -> None:
    train_alone(config(csv, epochs=1), places)
    with pytest.raises(SettingError, match="other settings: dropout"):
        run(config(csv, epochs=1, dropout=0.1), places, resume=True)


def test_a_loss_that_is_no_number_stops_with_a_word_and_adds_nothing(csv: Path, places: Places) -> None:
    with pytest.raises(DivergenceError, match="try a lower learning_rate than 1e"):
        run(config(csv, optimizer="sgd", learning_rate=1e38, max_norm=0.0, pretrain="none"), places, resume=False)
    assert not Repository(places.models).versions("sentiment")


def test_the_command_line_trains_and_names_what_is_wrong(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["sentiment", "--models", str(tmp_path / "models"), "--cache", str(tmp_path)]
    common += ["--output", str(tmp_path / "run")]
    assert main([*common, "--smoke", "--data", str(csv), "--max-tokens", "30", "--validation-fraction", "0.2"]) == 0
    assert "added" in capsys.readouterr().out
    assert main([*common, "--data", str(csv), "--text-column", "body"]) == 1
    assert "expected 'body'" in capsys.readouterr().err
    assert len(Repository(tmp_path / "models").versions("sentiment")) == 1


def test_validation_texts_teach_nothing(csv: Path, places: Places) -> None:
    texts = load_and_tokenize(config(csv), places.cache)
    assert len(texts.validation) == len(texts.data.validation)
    assert len(texts.train) == len(texts.data.train)
    assert np.concatenate(texts.train).max() < texts.vocabulary
