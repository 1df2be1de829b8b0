import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from benchmarks.servers.sentiment_model import SentimentModel
from benchmarks.workloads.sentiment import make_workloads, open_model
from benchmarks.workloads.workload import Workload
from tests.text_versions import KIND, TEXTS, add_sentiment, expected_prediction, make_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    return root / KIND / str(add_sentiment(root).version)


@pytest.fixture(scope="module")
def model(folder: Path) -> SentimentModel:
    return open_model(folder)


@pytest.fixture(scope="module")
def workloads(folder: Path) -> list[Workload]:
    return make_workloads(folder, None)


def count_words(workload: Workload) -> list[int]:
    return [len(text.split()) for body in workload.bodies["json"] for text in json.loads(body)["texts"]]


def test_the_peers_model_answers_what_the_graph_does(model: SentimentModel) -> None:
    texts = [*TEXTS, make_text(1, 150)]
    answers = model.analyze(texts)
    for text, answer in zip(texts, answers, strict=True):
        expected = expected_prediction(text)
        assert answer["probabilities"] == pytest.approx(expected.pop("probabilities"), abs=1e-5)
        assert answer["probability"] == pytest.approx(expected.pop("probability"), abs=1e-5)
        assert {name: answer[name] for name in expected} == expected


def test_the_steps_of_the_limit_make_the_whole_answer(model: SentimentModel) -> None:
    bodies = [json.dumps({"texts": [text]}).encode() for text in TEXTS]
    contents = [model.decode(body) for body in bodies]
    probabilities = model.infer(model.stack(contents))
    for row, content, text in zip(probabilities, contents, TEXTS, strict=True):
        (prediction,) = json.loads(model.encode(content, row[np.newaxis]))["predictions"]
        assert prediction["label"] == expected_prediction(text)["label"]


@pytest.mark.parametrize(("place", "size"), [(0, 10), (1, 230), (2, 1000)])
def test_a_workload_s_texts_vary_around_their_size(workloads: list[Workload], place: int, size: int) -> None:
    words = count_words(workloads[place])
    assert min(words) >= 0.8 * size
    assert max(words) <= 1.2 * size
    assert mean(words) == pytest.approx(size, rel=0.03)
    assert len(set(words)) >= 5


def test_one_text_in_twenty_of_the_mixture_is_long_and_any_may_be(workloads: list[Workload]) -> None:
    is_long = [words >= 800 for words in count_words(workloads[3])]
    assert is_long.count(True) * 20 == len(is_long)
    assert {place % 20 for place, long in enumerate(is_long) if long} != {is_long.index(True) % 20}


def test_every_request_has_a_right_answer_of_the_form_that_is_compared(workloads: list[Workload]) -> None:
    for workload in workloads:
        assert len(workload.expected) == len(workload.bodies["json"])
        assert workload.read(json.loads(workload.example)) == workload.expected[0]
        assert workload.read(json.loads(workload.example)["predictions"]) == workload.expected[0]  # as BentoML's


def test_workloads_have_names_of_their_own_that_files_can_have(workloads: list[Workload]) -> None:
    slugs = [workload.slug for workload in workloads]
    assert len(set(slugs)) == len(slugs)
    assert all(slug.replace("-", "").isalnum() for slug in slugs)
