"""Drift: what is like the training data is told from what is not, feature by feature, over the last rows."""

import base64
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from models.distributions import CategoricalDistribution, NumericDistribution, Statistics
from models.image import ImagePreprocessing
from models.manifest import Manifest
from service.config import Settings
from service.drift import MIN_ROWS, DriftWatch, watch_drift
from service.table_reader import TableReader
from tests.conftest import Serve
from tests.table_versions import TABLE, add_generator, add_predictor, expected_prediction, make_customer
from tests.text_versions import add_sentiment, make_text, read_text, run_alone
from tests.versions import LABELS, SIZE, add_version, make_graph, make_manifest
from training.statistics import measure_statistics

TRAINING_ROWS = 1_000
WINDOW = 1_000


def make_picture(number: int, *, dark: bool = False) -> NDArray[np.uint8]:
    """A picture that only ``number`` has: its levels are 90 to 220 on average, or 60 to 90."""
    generator = np.random.default_rng(number)
    level = generator.uniform(60, 90) if dark else generator.uniform(90, 220)
    levels = level + generator.normal(0, generator.uniform(2, 10), (SIZE, SIZE, 3))
    return levels.clip(0, 255).astype(np.uint8)


def make_words(number: int, count: int | None = None) -> str:
    """A text of so many words or of 1 to 150, and nothing that only ``number`` has."""
    return make_text(number, count).partition(" ")[2]


def encode_picture(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def see_pictures(manifest: Manifest) -> Manifest:
    """The manifest with what a training on such pictures would have seen."""
    images = np.stack([make_picture(number) for number in range(TRAINING_ROWS)])
    session = onnxruntime.InferenceSession(make_graph().SerializeToString(), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"images": images})
    return manifest.model_copy(update={"statistics": measure_statistics(manifest, zip(images), probabilities)})


def see_texts(manifest: Manifest) -> Statistics:
    rows = [read_text(make_words(number))[0] for number in range(TRAINING_ROWS)]
    return measure_statistics(manifest, zip(rows), np.stack([run_alone(ids)[0] for ids in rows]))


def see_customers(manifest: Manifest) -> Statistics:
    customers = [make_customer(number) for number in range(TRAINING_ROWS)]
    chances = [expected_prediction(customer)["churn_probability"] for customer in customers]
    probabilities = np.array([[1 - chance, chance] for chance in chances], np.float32)
    return measure_statistics(manifest, TableReader(TABLE).read(customers, "customers"), probabilities)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions that say what they have seen: of images the second, of texts the only one, of customers both."""
    root = tmp_path_factory.mktemp("models")
    add_version(root)
    add_version(root, change_manifest=see_pictures)
    scratch = tmp_path_factory.mktemp("scratch")
    add_sentiment(root, statistics=see_texts(add_sentiment(scratch)))
    statistics = see_customers(add_predictor(scratch))
    for _ in range(2):
        add_predictor(root, statistics=statistics)
    add_generator(root)
    return root


@pytest.fixture(scope="module")
def client(serve: Serve, root: Path) -> Iterator[httpx.Client]:
    environment = {
        "MODELYARD_MODELS": str(root),
        "MODELYARD_MAX_ITEMS": "100",
        "MODELYARD_DRIFT_ROWS": str(WINDOW),
        "MODELYARD_DRIFT_SHARE": "1",
        "MODELYARD_PIN": '{"churn": 1}',
        "MODELYARD_SHADOW": '{"churn": 2}',
        "MODELYARD_LOG_LEVEL": "WARNING",
    }
    with serve(environment=environment) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def read_rows(client: httpx.Client) -> dict[tuple[str, str], float]:
    """The rows of the window of each version that is watched."""
    return {(labels["model"], labels["version"]): value for labels, value in read(client, "model_drift_rows")}


def read_indices(client: httpx.Client, kind: str, version: str) -> dict[tuple[str, str], float]:
    """The index of each feature of a version."""
    return {
        (labels["source"], labels["feature"]): value
        for labels, value in read(client, "model_drift_psi")
        if (labels["model"], labels["version"]) == (kind, version)
    }


def read(client: httpx.Client, name: str) -> list[tuple[Mapping[str, str], float]]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return [(sample.labels, sample.value) for family in families for sample in family.samples if sample.name == name]


class Traffic(NamedTuple):
    """Requests of one kind: as in training, and with one feature that is not."""

    kind: str
    version: str
    route: str
    member: str
    usual: Callable[[int], object]
    shifted: Callable[[int], object]
    feature: str
    others: Sequence[str]  # that are as in training all the same


TRAFFIC = {
    "dark pictures": Traffic(
        *("image_classifier", "2", "/classify", "images"),
        usual=lambda number: encode_picture(make_picture(number)),
        shifted=lambda number: encode_picture(make_picture(number, dark=True)),
        feature="brightness",
        others=("contrast",),
    ),
    "long texts": Traffic(
        *("sentiment", "1", "/analyze-sentiment", "texts"),
        usual=make_words,
        shifted=lambda number: make_words(number, 200),
        feature="tokens",
        others=(),
    ),
    "texts in another script": Traffic(
        *("sentiment", "1", "/analyze-sentiment", "texts"),
        usual=make_words,
        shifted=lambda number: make_words(number).translate({place: place + 0x3B0 for place in range(0x61, 0x7B)}),
        feature="unknown_share",
        others=(),
    ),
    "customers on one contract": Traffic(
        *("churn", "1", "/predict-churn", "customers"),
        usual=make_customer,
        shifted=lambda number: {**make_customer(number), "plan": "yearly"},
        feature="plan",
        others=("age", "senior", "since", "city", "charge"),
    ),
}


def send(client: httpx.Client, traffic: Traffic, make: Callable[[int], object], first: int, count: int) -> None:
    for start in range(first, first + count, 100):
        items = [make(number) for number in range(start, min(start + 100, first + count))]
        client.post(traffic.route, json={traffic.member: items}).raise_for_status()


@pytest.mark.parametrize("name", TRAFFIC)
def test_what_is_not_like_the_training_data_is_told_by_its_feature_until_it_has_passed(
    client: httpx.Client, name: str
) -> None:
    traffic = TRAFFIC[name]
    if read_rows(client)[traffic.kind, traffic.version] == 0:
        send(client, traffic, traffic.usual, 10_000, MIN_ROWS - 1)
        assert read_rows(client)[traffic.kind, traffic.version] == MIN_ROWS - 1
        assert read_indices(client, traffic.kind, traffic.version) == {}
    send(client, traffic, traffic.usual, 20_000, WINDOW)
    assert WINDOW * 0.9 <= read_rows(client)[traffic.kind, traffic.version] <= WINDOW
    usual = read_indices(client, traffic.kind, traffic.version)
    assert ("prediction", "label") in usual
    assert max(usual.values()) < 0.1
    send(client, traffic, traffic.shifted, 30_000, WINDOW)
    shifted = read_indices(client, traffic.kind, traffic.version)
    assert shifted["input", traffic.feature] > 0.25
    assert [feature for feature in traffic.others if not shifted["input", feature] < 0.1] == []
    send(client, traffic, traffic.usual, 40_000, WINDOW)
    assert max(read_indices(client, traffic.kind, traffic.version).values()) < 0.1


def test_only_the_version_that_answers_counts_and_versions_that_say_nothing_show_nothing(client: httpx.Client) -> None:
    send(client, TRAFFIC["customers on one contract"], make_customer, 0, 10)
    client.post("/classify?version=1", json={"images": [encode_picture(make_picture(0))]}).raise_for_status()
    client.post("/generate-profiles", json={"count": 3}).raise_for_status()
    rows = read_rows(client)
    assert set(rows) == {("image_classifier", "2"), ("sentiment", "1"), ("churn", "1"), ("churn", "2")}
    assert rows["churn", "1"] > 0
    assert rows["churn", "2"] == 0  # the shadow
    numbers = {"name": "numbers", "datatype": "FP32", "shape": [2, 3], "data": [40, 15_000, 20, 50, 16_000, 30]}
    texts = {"name": "texts", "datatype": "BYTES", "shape": [2, 3], "data": ["monthly", "0", "Ulm", "new", "1", ""]}
    answer = client.post("/v2/models/churn/versions/2/infer", json={"inputs": [numbers, texts]})
    answer.raise_for_status()
    assert read_rows(client)["churn", "2"] == 2


def test_a_request_that_is_refused_does_not_count(client: httpx.Client) -> None:
    before = read_rows(client)
    refused = client.post("/predict-churn?version=2", json={"customers": [make_customer(1), {"plan": "monthly"}]})
    assert refused.status_code == 422
    assert read_rows(client) == before


def test_the_manifest_shows_what_the_version_has_seen(client: httpx.Client) -> None:
    statistics = client.get("/models/churn").json()["statistics"]
    assert statistics["input_rows"] == TRAINING_ROWS
    assert [each["name"] for each in statistics["inputs"]] == ["age", "since", "charge", "plan", "senior", "city"]
    assert client.get("/models/profile_generator").json()["statistics"] is None


# Without a server.

STATISTICS = Statistics(
    input_rows=1_000,
    inputs=(
        NumericDistribution(name="brightness", edges=(100.0, 150.0), shares=(0.5, 0.25, 0.25)),
        NumericDistribution(name="contrast", edges=(), shares=(1.0,)),
    ),
    prediction_rows=1_000,
    predictions=(
        CategoricalDistribution(name="label", categories=("red", "blue"), shares=(0.6, 0.4)),
        NumericDistribution(name="confidence", edges=(0.5,), shares=(0.2, 0.8)),
    ),
)


def make_watch(rows: int = 1_000, share: float = 1) -> DriftWatch:
    manifest = make_manifest(1, LABELS)
    assert isinstance(manifest.preprocessing, ImagePreprocessing)
    return DriftWatch(manifest, STATISTICS, rows, share)


def show(watch: DriftWatch, level: int, count: int, probabilities: Sequence[float] = (0.9, 0.05, 0.05)) -> None:
    """Let ``watch`` see a plain picture of one level, one request after the other."""
    row = (np.full((SIZE, SIZE, 3), level, np.uint8),)
    for _ in range(count):
        watch.observe([row], [(np.array(probabilities, np.float32),)])


def index(now: Sequence[float], then: Sequence[float]) -> float:
    """The population stability index, with a ten-thousandth for an empty bin."""
    pairs = [(max(a, 1e-4), max(b, 1e-4)) for a, b in zip(now, then, strict=True)]
    return math.fsum((a - b) * math.log(a / b) for a, b in pairs)


def test_the_index_is_the_one_of_the_book() -> None:
    watch = make_watch()
    show(watch, 50, 300)
    show(watch, 120, 300, (0.05, 0.9, 0.05))
    drift = watch.measure()
    assert drift.rows == 600
    assert drift.inputs["brightness"] == pytest.approx(index((0.5, 0.5, 0, 0), (0.5, 0.25, 0.25, 0)))
    assert drift.inputs["contrast"] == pytest.approx(0)
    assert drift.predictions["label"] == pytest.approx(index((0.5, 0, 0.5, 0), (0.6, 0.4, 0, 0)))  # green is other
    assert drift.predictions["confidence"] == pytest.approx(index((0, 1), (0.2, 0.8)))


def test_there_is_no_index_before_there_are_rows_enough() -> None:
    watch = make_watch()
    show(watch, 50, MIN_ROWS - 1)
    assert watch.measure() == (MIN_ROWS - 1, {}, {})
    show(watch, 50, 1)
    assert watch.measure().inputs


def test_the_window_slides_by_tenths_and_forgets() -> None:
    watch = make_watch(1_000)
    show(watch, 50, 1_000)
    assert watch.measure().rows == 900  # the tenth that is next to be filled has no rows yet
    show(watch, 200, 99)
    assert watch.measure().rows == 999
    show(watch, 200, 801)
    drift = watch.measure()
    assert drift.rows == 900
    assert drift.inputs["brightness"] == pytest.approx(index((0, 0, 1), (0.5, 0.25, 0.25)))


def test_counting_takes_no_more_than_its_share_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def pass_time() -> float:
        nonlocal now
        now += 10e-6
        return now

    monkeypatch.setattr("service.drift.time.perf_counter", pass_time)
    watch = make_watch(10_000, share=0.01)
    show(watch, 50, 5_000)
    spent = watch.measure().rows * 10e-6
    # What may be spent at once is spent, and then a hundredth.
    assert 0.001 + 0.009 * now < spent < 0.0011 + 0.011 * now


def test_a_request_of_costly_rows_ends_when_its_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(np.arange(0, 100, 0.0004))
    monkeypatch.setattr("service.drift.time.perf_counter", lambda: next(times))
    watch = make_watch(1_000, share=0.5)
    row, result = (np.zeros((SIZE, SIZE, 3), np.uint8),), (np.array([1, 0, 0], np.float32),)
    watch.observe([row] * 64, [result] * 64)
    assert watch.measure().rows == 3


@pytest.mark.parametrize(
    ("statistics", "share", "is_watched"), [(STATISTICS, 0.01, True), (STATISTICS, 0, False), (None, 1, False)]
)
def test_nothing_is_watched_without_statistics_or_time(
    statistics: Statistics | None, share: float, is_watched: bool
) -> None:
    manifest = make_manifest(1, LABELS).model_copy(update={"statistics": statistics})
    assert (watch_drift(manifest, Settings(drift_share=share)) is not None) == is_watched


def test_probabilities_that_are_no_numbers_count_as_missing() -> None:
    watch = make_watch()
    show(watch, 50, MIN_ROWS, (math.nan, math.nan, math.nan))
    assert watch.measure().predictions["confidence"] == pytest.approx(index((0, 0, 1), (0.2, 0.8, 0)))
