"""Answers that are made part by part: whole, patient, and gone when nobody wants them."""

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.repository import Repository
from service.bodies import Body
from service.config import Settings
from service.errors import OverloadedError
from service.exchange import Answer
from service.generation import Generation
from service.kinds import image_generator, profile_generator
from service.metrics import Metrics
from service.runtime import Model
from tests.picture_versions import KIND, add_image_generator
from tests.table_versions import GENERATOR, add_generator, expected_profiles

COUNT = 2000


def load_model(root: Path, **settings: int) -> Model:
    manifest = add_generator(root)
    folder = Repository(root).folder(GENERATOR, 1)
    # It prepares nothing in threads.
    return Model(folder, manifest, "cpu", Settings(**settings), Metrics(), None)  # type: ignore[arg-type]


async def ask(model: Model, seed: int, count: int = COUNT) -> Answer:
    content = b'{"count": %d, "seed": %d}' % (count, seed)
    body = Body("application/json", b"application/json", content)
    return await model.answer(body, profile_generator.Query(), b"text/csv", time.perf_counter() + 30)


def chunks_of(answer: Answer) -> AsyncIterator[bytes]:
    assert not isinstance(answer.content, bytes)
    return answer.content


async def read(answer: Answer) -> list[dict[str, str]]:
    content = b"".join([chunk async for chunk in chunks_of(answer)])
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def ages_of(seed: int, count: int = COUNT) -> list[str]:
    return [str(profile["age"]) for profile in expected_profiles(seed, count)]


@pytest.mark.parametrize("rows", [1, 16, 64, 256])
def test_a_part_is_one_batch_of_64_rows_at_most(tmp_path: Path, rows: int) -> None:
    async def check() -> None:
        model = load_model(tmp_path, max_batch_rows=rows)
        chunks = [chunk async for chunk in chunks_of(await ask(model, 3, 500))]
        assert len(chunks) == -(-500 // min(rows, 64))
        lines = csv.DictReader(io.StringIO(b"".join(chunks).decode(), newline=""))
        assert [line["age"] for line in lines] == ages_of(3, 500)
        model.close()

    asyncio.run(check())


@pytest.mark.parametrize(("seconds_each", "rows"), [(0.0001, 64), (0.0005, 32), (0.002, 8), (0.015, 1), (0.5, 1)])
def test_a_part_of_a_slow_model_is_one_that_others_can_wait_for(tmp_path: Path, seconds_each: float, rows: int) -> None:
    async def check() -> None:
        model = load_model(tmp_path)
        assets = profile_generator.load(tmp_path, model.manifest)
        run_seconds = {rows: rows * seconds_each for rows in (1, 2, 4, 8, 16, 32, 64)}
        preparers: Any = None
        generation = Generation(
            profile_generator, model.manifest, assets, model.batcher, Settings(), Metrics(), preparers, run_seconds
        )
        body = Body("application/json", b"application/json", b'{"count": 200, "seed": 5}')
        answer = await generation.answer(body, profile_generator.Query(), b"text/csv", time.perf_counter() + 30)
        chunks = [chunk async for chunk in chunks_of(answer)]
        assert len(chunks) == -(-200 // rows)
        lines = csv.DictReader(io.StringIO(b"".join(chunks).decode(), newline=""))
        assert [line["age"] for line in lines] == ages_of(5, 200)
        model.close()

    asyncio.run(check())


class CountingExecutor(ThreadPoolExecutor):
    """Threads that count what they are given."""

    count = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize(
    ("accept", "count", "jobs"), [(b"", 16, 0), (b"", 64, 1), (b"", 192, 3), (b"image/png", 64, 0)]
)
def test_what_takes_long_to_write_is_written_in_a_thread(tmp_path: Path, accept: bytes, count: int, jobs: int) -> None:
    async def check() -> None:
        manifest = add_image_generator(tmp_path)
        with CountingExecutor(1) as preparers:
            folder = Repository(tmp_path).folder(KIND, 1)
            model = Model(folder, manifest, "cpu", Settings(), Metrics(), preparers)
            body = Body("application/json", b"application/json", b'{"count": %d}' % count)
            answer = await model.answer(body, image_generator.Query(), accept, time.perf_counter() + 30)
            if not isinstance(answer.content, bytes):
                assert [chunk async for chunk in answer.content]
            assert preparers.count == jobs
            model.close()

    asyncio.run(check())


def test_one_part_is_an_answer_of_known_length(tmp_path: Path) -> None:
    async def check() -> None:
        model = load_model(tmp_path)
        assert isinstance((await ask(model, 3, 64)).content, bytes)
        await read(await ask(model, 3, 65))
        model.close()

    asyncio.run(check())


def test_answers_that_have_begun_wait_for_a_place_in_the_queue(tmp_path: Path) -> None:
    async def check() -> None:
        model = load_model(tmp_path, max_queue_rows=64)
        answers = [await ask(model, seed) for seed in range(6)]
        for seed, rows in enumerate(await asyncio.gather(*(read(answer) for answer in answers))):
            assert [row["age"] for row in rows] == ages_of(seed)
        model.close()

    asyncio.run(check())


def test_an_answer_that_has_not_begun_is_refused_where_there_is_no_place(tmp_path: Path) -> None:
    async def check() -> None:
        model = load_model(tmp_path, max_queue_rows=64)
        results = await asyncio.gather(*(ask(model, seed) for seed in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Answer, OverloadedError, OverloadedError]
        model.close()

    asyncio.run(check())


def test_nothing_is_made_ahead_of_the_client_or_after_it(tmp_path: Path) -> None:
    async def check() -> None:
        model = load_model(tmp_path)
        content = (await ask(model, 1, 100_000)).content
        assert not isinstance(content, bytes)
        first = await anext(content)
        await asyncio.sleep(0.1)
        second = await anext(content)
        assert (first + second).count(b"\r\n") == 1 + 128
        await content.aclose()
        await asyncio.sleep(0.05)
        assert model.batcher.pending_rows == 0
        with pytest.raises(StopAsyncIteration):
            await anext(content)
        model.close()

    asyncio.run(check())
