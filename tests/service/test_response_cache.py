"""The cache: the same request gets the same bytes, once computed, of the version that is asked, within its bound."""

import asyncio
import gc
import json
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bodies import Body
from service.errors import DeadlineError, OverloadedError, RequestError, UnprocessableError
from service.exchange import JSON, Answer
from service.kinds import churn, profile_generator
from service.metrics import Metrics
from service.queries import Query
from service.response_cache import ENTRY_BYTES, ResponseCache
from tests.conftest import Serve
from tests.service.clients import read_metrics
from tests.service.test_classify import PNG
from tests.table_versions import CUSTOMER, add_generator, add_predictor
from tests.versions import LABELS, add_version, encode, plain_picture, slow_down

IMAGE = {"content-type": "image/png"}
STATUS = "cache-status"
HIT, MISS, SHARED = (b"modelyard; " + text for text in (b"hit", b"fwd=miss", b"fwd=miss; collapsed"))


@dataclass(eq=False)
class SlowModel:
    """Answers with how often it was asked, or fails, after a while."""

    seconds: float = 0.02
    error: Exception | None = None
    size: int = 0
    kind: Any = churn
    calls: int = 0
    finished: int = 0
    deadlines: list[float] = field(default_factory=list)

    @property
    def manifest(self) -> Any:
        return Manifest

    async def answer(self, body: Body, query: Query, accept: bytes, deadline: float) -> Answer:
        self.calls += 1
        self.deadlines.append(deadline)
        number = self.calls
        await asyncio.sleep(self.seconds)
        if time.perf_counter() > deadline:
            raise DeadlineError("too late")
        self.finished += 1
        if self.error is not None:
            raise self.error
        return Answer(200, JSON, b"%d " % number + body.content + bytes(self.size))


class Manifest:
    kind = "churn"
    version = 1


async def ask(cache: ResponseCache, model: SlowModel, content: bytes = b"a", **changes: Any) -> tuple[bytes, bytes]:
    """The answer and what its header says."""
    arguments: dict[str, Any] = {"query_string": b"", "accept": b"", "content_type": b"application/json"}
    arguments |= {"seconds": 30.0} | changes
    body = Body("application/json", arguments["content_type"], content)
    deadline = time.perf_counter() + arguments["seconds"]
    answer = await cache.answer(
        model,  # type: ignore[arg-type]
        body,
        Query(),
        arguments["query_string"],
        arguments["accept"],
        deadline,
    )
    assert isinstance(answer.content, bytes)
    return answer.content, dict(answer.headers).get(STATUS.encode(), b"")


async def until_asked(model: SlowModel, calls: int) -> None:
    while model.calls < calls:  # noqa: ASYNC110  # nothing says so, and no time is to pass
        await asyncio.sleep(0)


def make_cache(max_bytes: int = 100_000) -> ResponseCache:
    return ResponseCache(max_bytes, Metrics())


def read_bytes(cache: ResponseCache) -> dict[str, float]:
    lines = cache._metrics.render().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:8] == "response")}


def test_the_same_request_is_computed_once() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        assert await ask(cache, model) == (b"1 a", MISS)
        assert await ask(cache, model) == (b"1 a", HIT)
        assert await ask(cache, model, accept=b"text/csv") == (b"1 a", HIT)  # there is one form of answer

    asyncio.run(check())


@pytest.mark.parametrize("change", [{"content": b"b"}, {"content_type": b"image/png"}, {"query_string": b"top_k=2"}])
def test_another_request_is_another_computation(change: dict[str, bytes]) -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        await ask(cache, model)
        assert (await ask(cache, model, **{"content": b"a", **change}))[1] == MISS
        assert (await ask(cache, SlowModel()))[1] == MISS
        assert model.calls == 2

    asyncio.run(check())


def test_requests_at_the_same_time_share_one_computation() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        answers = await asyncio.gather(*(ask(cache, model) for _ in range(50)))
        assert answers == [(b"1 a", MISS)] + [(b"1 a", SHARED)] * 49
        assert model.calls == 1

    asyncio.run(check())


def test_a_body_that_is_digested_in_a_thread_is_shared_and_kept_too() -> None:
    async def check() -> None:
        cache, model = make_cache(2**22), SlowModel()
        large = bytes(2**20)
        answers = await asyncio.gather(*(ask(cache, model, large) for _ in range(8)))
        assert (len(set(answers)), model.calls) == (2, 1)
        assert (await ask(cache, model, large))[1] == HIT

    asyncio.run(check())


def test_who_leaves_harms_nobody_who_waits() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        tasks = [asyncio.create_task(ask(cache, model)) for _ in range(5)]
        await until_asked(model, 1)
        tasks[0].cancel()
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False, False, True, False]
        assert results[1] == (b"1 a", SHARED)
        assert (model.calls, model.finished) == (1, 1)

    asyncio.run(check())


def test_what_nobody_waits_for_any_more_is_dropped() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        tasks = [asyncio.create_task(ask(cache, model)) for _ in range(3)]
        await until_asked(model, 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late = await ask(cache, model)  # does not join what has been dropped
        assert late == (b"2 a", MISS)
        assert (model.calls, model.finished) == (2, 1)
        assert cache._flights == {}

    asyncio.run(check())


def test_who_has_more_time_than_the_first_is_not_refused_with_it() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        first = asyncio.create_task(ask(cache, model, seconds=model.seconds / 2))
        await asyncio.sleep(0)
        others = [asyncio.create_task(ask(cache, model, seconds=20)) for _ in range(4)]
        with pytest.raises(DeadlineError):
            await first
        assert [answer for answer, _ in await asyncio.gather(*others)] == [b"2 a"] * 4
        assert model.calls == 2

    asyncio.run(check())


def test_over_capacity_is_said_to_all_who_have_no_more_time() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel(error=OverloadedError("over capacity", retry_after_seconds=1))
        tasks = [ask(cache, model, seconds=10 - number) for number in range(4)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [OverloadedError] * 4
        assert model.calls == 1

    asyncio.run(check())


def test_who_comes_at_the_moment_of_a_failure_does_not_wait_for_it() -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel()
        late: list[asyncio.Task[tuple[bytes, bytes]]] = []

        async def fail(*_: object) -> Answer:
            model.answer = answer  # type: ignore[method-assign]
            late.append(asyncio.create_task(ask(cache, model, seconds=60)))
            raise OverloadedError("over capacity", retry_after_seconds=1)

        answer, model.answer = model.answer, fail  # type: ignore[method-assign, assignment]
        with pytest.raises(OverloadedError):
            await ask(cache, model)
        assert await late[0] == (b"1 a", MISS)
        assert await ask(cache, model) == (b"1 a", HIT)
        assert cache._flights == {}

    asyncio.run(check())


@pytest.mark.parametrize("error", [UnprocessableError([("a", "b")]), RuntimeError("a fault")])
def test_an_error_is_kept_for_nobody(error: Exception) -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel(error=error)
        results = await asyncio.gather(*(ask(cache, model) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [type(error)] * 3
        assert model.calls == 1
        model.error = None
        assert await ask(cache, model) == (b"2 a", MISS)

    asyncio.run(check())


def test_it_keeps_to_its_bound_and_what_was_not_asked_for_goes_first() -> None:
    async def check() -> None:
        model = SlowModel(seconds=0, size=1000)
        cache = make_cache(10 * (ENTRY_BYTES + 1100))
        for number in range(10):
            await ask(cache, model, b"%d" % number)
        assert (await ask(cache, model, b"0"))[1] == HIT
        for number in range(10, 15):
            await ask(cache, model, b"%d" % number)
        assert read_bytes(cache)["response_cache_bytes"] <= 10 * (ENTRY_BYTES + 1100)
        assert read_bytes(cache)["response_cache_entries"] == 10
        assert [(await ask(cache, model, b"%d" % number))[1] for number in (0, 14, 1)] == [HIT, HIT, MISS]
        model.size = 100_000
        await ask(cache, model, b"large")
        assert (await ask(cache, model, b"large"))[1] == MISS
        assert read_bytes(cache)["response_cache_entries"] == 10

    asyncio.run(check())


def test_a_version_that_is_released_takes_its_answers_with_it() -> None:
    async def check() -> None:
        cache, model, other = make_cache(), SlowModel(), SlowModel()
        await asyncio.gather(ask(cache, model), ask(cache, model, b"b"), ask(cache, other))
        flying = asyncio.create_task(ask(cache, model, b"c"))
        await until_asked(model, 3)
        assert read_bytes(cache)["response_cache_entries"] == 3
        released = weakref.ref(model)
        del model
        await flying
        del flying
        gc.collect()
        assert released() is None
        await asyncio.sleep(0.01)
        assert read_bytes(cache)["response_cache_entries"] == 1
        assert (await ask(cache, other))[1] == HIT

    asyncio.run(check())


@pytest.mark.parametrize(
    ("content", "repeatable"),
    [
        (b'{"seed": 7}', True),
        (b'{"seed": 0, "count": 3}', True),
        (b'{"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}}', True),
        (b"{}", False),
        (b'{"count": 3, "seed": null}', False),
    ],
)
def test_what_is_drawn_without_a_seed_is_made_for_each(content: bytes, repeatable: bool) -> None:
    async def check() -> None:
        cache, model = make_cache(), SlowModel(kind=profile_generator)
        answers = await asyncio.gather(*(ask(cache, model, content) for _ in range(3)))
        assert model.calls == (1 if repeatable else 3)
        assert len({answer for answer, _ in answers}) == model.calls
        assert (await ask(cache, model, content))[1] == (HIT if repeatable else b"")
        assert (await ask(cache, model, content, accept=b"text/csv"))[1] == (MISS if repeatable else b"")
        with pytest.raises(RequestError):
            await ask(cache, model, b"junk")

    asyncio.run(check())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cached")
    add_version(root, change_graph=slow_down)
    add_predictor(root)
    add_generator(root)
    return root


@pytest.fixture(scope="module")
def cached(serve: Serve, root: Path) -> Iterator[str]:
    environment = {
        "MODELYARD_MODELS": str(root),
        "MODELYARD_CACHE_BYTES": "1000000",
        "MODELYARD_WATCH_SECONDS": "0.1",
        "MODELYARD_LOADED_VERSIONS": "1",
        "MODELYARD_STATE": str(root / "state"),
        "MODELYARD_ADMIN_OPEN": "true",
        "MODELYARD_LOG_LEVEL": "WARNING",
    }
    with serve(environment=environment) as url:
        yield url


@pytest.fixture(scope="module")
def http(cached: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cached, timeout=60) as client:
        yield client


def read(http: httpx.Client, name: str, kind: str, version: int = 1) -> float:
    return read_metrics(http)[f'{name}{{model="{kind}",version="{version}"}}']


def test_a_server_computes_once_what_many_ask_at_a_time(http: httpx.Client, cached: str) -> None:
    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=cached, timeout=60) as client:
            return await asyncio.gather(*(client.post("/classify", content=PNG, headers=IMAGE) for _ in range(40)))

    before = read(http, "nv_inference_count", "image_classifier")
    answers = asyncio.run(ask_all())
    again = http.post("/classify", content=PNG, headers=IMAGE)
    assert {answer.content for answer in [*answers, again]} == {again.content}
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 40
    assert again.headers[STATUS] == HIT.decode()
    assert read(http, "nv_inference_count", "image_classifier") == before + 1
    assert read(http, "nv_cache_num_misses_per_model", "image_classifier") == 1
    assert read(http, "nv_cache_num_hits_per_model", "image_classifier") == 40
    assert read(http, "nv_inference_request_success", "image_classifier") == 41
    metrics = read_metrics(http)
    assert 0 < metrics["response_cache_bytes"] < 5000
    other = http.post("/classify?top_k=1", content=PNG, headers=IMAGE)
    assert other.headers[STATUS] == MISS.decode()
    assert len(other.json()["predictions"][0]["top"]) == 1


def test_what_a_server_refuses_it_refuses_again(http: httpx.Client) -> None:
    body = json.dumps({"customers": [{**CUSTOMER, "plan": "weekly"}]})
    for _ in range(2):
        answer = http.post("/predict-churn", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert STATUS not in answer.headers


def test_an_explanation_is_kept_apart_from_the_prediction(http: httpx.Client) -> None:
    for explain in (False, True):
        answers = [http.post("/predict-churn", json={"customers": [CUSTOMER], "explain": explain}) for _ in range(2)]
        assert [answer.headers[STATUS] for answer in answers] == [MISS.decode(), HIT.decode()]
        assert answers[0].content == answers[1].content
        assert ("factors" in answers[0].json()["predictions"][0]) == explain


def test_profiles_are_kept_by_their_seed_alone(http: httpx.Client) -> None:
    def ask(accept: str = "*/*", **content: int) -> httpx.Response:
        return http.post("/generate-profiles", json=content, headers={"accept": accept})

    assert ask(seed=7, count=3).headers[STATUS] == MISS.decode()
    assert ask(seed=7, count=3).headers[STATUS] == HIT.decode()
    csv = [ask("text/csv", seed=7, count=3) for _ in range(2)]
    assert [answer.headers[STATUS] for answer in csv] == [MISS.decode(), HIT.decode()]
    assert [answer.headers["x-seed"] for answer in csv] == ["7", "7"]
    assert csv[0].headers["content-type"] == csv[1].headers["content-type"] == "text/csv; charset=utf-8"
    drawn = [ask(count=3) for _ in range(3)]
    assert len({answer.json()["seed"] for answer in drawn}) == 3
    assert not any(STATUS in answer.headers for answer in drawn)
    long = [ask(seed=7, count=300) for _ in range(2)]  # is made while it is sent
    assert long[0].content == long[1].content
    assert not any(STATUS in answer.headers for answer in long)


def wait_for_version(http: httpx.Client, version: int, state: str = "serving") -> None:
    deadline = time.monotonic() + 60
    while True:
        versions = {
            entry["version"]: entry["state"] for entry in http.get("/models/image_classifier").json()["versions"]
        }
        if versions.get(str(version)) == state:
            return
        assert time.monotonic() < deadline, versions
        time.sleep(0.05)


def test_a_new_version_answers_for_itself_while_the_old_one_is_asked(
    http: httpx.Client, cached: str, root: Path
) -> None:
    """From the takeover on no answer to what is asked all the time is the old one's, whose memory is given back."""
    names = tuple(f"new {label}" for label in LABELS)
    body = encode(plain_picture((1, 200, 3)))
    answers: list[tuple[float, float, str, str]] = []
    taken: list[float] = []

    async def ask_on() -> None:
        async with httpx.AsyncClient(base_url=cached, timeout=60) as client:
            after = 0
            while after < 5:
                began = time.monotonic()
                after += bool(taken) and began > taken[0]
                answer = await client.post("/classify", content=body, headers=IMAGE)
                assert answer.status_code == 200
                content = answer.json()
                answers.append((began, time.monotonic(), content["version"], content["predictions"][0]["label"]))

    async def take_over() -> None:
        await asyncio.sleep(0.2)
        await asyncio.to_thread(add_version, root, labels=names, change_graph=slow_down)
        await asyncio.to_thread(wait_for_version, http, 2)
        taken.append(time.monotonic())

    async def check() -> None:
        await asyncio.gather(take_over(), *(ask_on() for _ in range(8)))

    asyncio.run(check())
    assert {(version, label) for _, _, version, label in answers} == {("1", "green"), ("2", "new green")}
    assert {version for began, _, version, _ in answers if began > taken[0]} == {"2"}
    # Both versions were asked the same by all, and computed it once each.
    assert read(http, "nv_inference_count", "image_classifier", 2) == 1
    deadline = time.monotonic() + 30
    while read_metrics(http)["response_cache_entries"] > 5:  # one of version 2, and those of the other kinds
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_canary_gets_its_share_of_what_is_asked_again_and_again(http: httpx.Client, root: Path) -> None:
    add_version(root, change_graph=slow_down)
    wait_for_version(http, 3)
    plan = {"default": 2, "canary": {"version": 3, "share": 0.5}, "shadow": 3}
    answer = http.patch("/admin/models/image_classifier", json=plan)
    assert answer.status_code == 200, answer.text
    answers = [http.post("/classify", content=PNG, headers=IMAGE).json() for _ in range(200)]
    found = [answer["version"] for answer in answers]
    assert 60 < found.count("3") < 140
    assert {(answer["version"], answer["predictions"][0]["label"]) for answer in answers} == {
        ("2", "new red"),
        ("3", "red"),
    }
