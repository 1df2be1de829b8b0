"""Answers that are made part by part: whole, patient, and gone when nobody wants them."""

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.repository import Repository
from service.bodies import Body
from service.config import Settings
from service.errors import OverloadedError
from service.exchange import Answer
from service.kinds import profile_generator
from service.metrics import Metrics
from service.runtime import Model
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
