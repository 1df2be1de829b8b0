"""A graph on an execution provider: rows in, rows out."""

from pathlib import Path

import numpy as np
import pytest

from models.repository import Repository
from service.providers import Provider
from service.session import Session, buckets
from tests.versions import KIND, SIZE, add_version, expected_probabilities, plain_picture


def open_session(root: Path, provider: Provider, max_batch_rows: int) -> Session:
    manifest = add_version(root)
    return Session(Repository(root).folder(KIND, 1), manifest, provider, 1, max_batch_rows)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12)), (64, (1, 2, 4, 8, 16, 32, 64))],
)
def test_buckets_double_up_to_the_largest_batch(rows: int, expected: tuple[int, ...]) -> None:
    assert buckets(rows) == expected


def check_rows(session: Session) -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 12, 5, 1):
        colours = [tuple(map(int, generator.integers(0, 256, 3))) for _ in range(count)]
        outputs = session.run([(np.array(plain_picture(colour)),) for colour in colours])  # type: ignore[arg-type]
        assert len(outputs) == count
        for (probabilities,), colour in zip(outputs, colours, strict=True):
            assert probabilities == pytest.approx(expected_probabilities(colour), abs=1e-5)  # type: ignore[arg-type]


def test_every_row_gets_its_own_output_on_the_cpu(tmp_path: Path) -> None:
    check_rows(open_session(tmp_path, "cpu", 12))


def test_outputs_outlive_the_next_run(tmp_path: Path) -> None:
    session = open_session(tmp_path, "cpu", 4)
    first = session.run([(np.full((SIZE, SIZE, 3), 255, np.uint8),)])[0][0]
    before = first.copy()
    session.run([(np.zeros((SIZE, SIZE, 3), np.uint8),)] * 4)
    assert np.array_equal(first, before)


def test_every_row_gets_its_own_output_on_cuda(tmp_path: Path, gpu: None) -> None:
    check_rows(open_session(tmp_path, "cuda", 12))


def test_cuda_and_cpu_agree_whatever_the_batch(tmp_path: Path, gpu: None) -> None:
    on_cpu = open_session(tmp_path / "cpu", "cpu", 16)
    on_gpu = open_session(tmp_path / "cuda", "cuda", 16)
    generator = np.random.default_rng(1)
    rows = [(generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8),) for _ in range(16)]
    expected = np.stack([output[0] for output in on_cpu.run(rows)])
    for count in range(1, 17):
        found = np.stack([output[0] for output in on_gpu.run(rows[:count])])
        assert found == pytest.approx(expected[:count], abs=1e-5)
