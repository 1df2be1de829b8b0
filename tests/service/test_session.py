"""A graph on an execution provider: rows in, rows out."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models.errors import ArtifactError
from models.manifest import Manifest
from models.repository import Repository
from service.providers import Provider
from service.session import Session, buckets
from tests.table_versions import GENERATOR, NOISE, PREDICTOR, add_generator, add_predictor
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


def check_texts(root: Path, provider: Provider) -> None:
    """Texts in and out, several of each, and a scalar in each row."""
    predictor = Session(Repository(root).folder(PREDICTOR, 1), add_predictor(root), provider, 1, 8)
    generator = Session(Repository(root).folder(GENERATOR, 1), add_generator(root), provider, 1, 8)
    alone: dict[int, tuple[float, list[str]]] = {}
    for count in (1, 2, 3, 7, 8, 5, 1):
        numbers = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
        texts = np.array([["monthly", "0", "Ulm"], ["yearly", "1", "Köln"]] * 4, object)[:count]
        outputs = predictor.run(list(zip(numbers, texts, strict=True)))
        z = np.random.default_rng(0).normal(size=(count, NOISE)).astype(np.float32)
        rows = generator.run([(row, np.array(index % 2)) for index, row in enumerate(z)])
        assert [row[1].tolist()[0] for row in rows[:2]] == [
            ("monthly", "yearly", 'two, "years"')[int(row[3] > 0) + index % 2] for index, row in enumerate(z[:2])
        ]
        for index, (output, row) in enumerate(zip(outputs, rows, strict=True)):
            assert [value.shape for value in (*output, *row)] == [(2,), (1,), (3,), (3,)]
            found = (float(output[1][0]), row[1].tolist())
            expected = alone.setdefault(index, found)
            assert found[0] == pytest.approx(expected[0], abs=1e-5)
            assert found[1] == expected[1]


def test_texts_go_in_and_come_out_on_the_cpu(tmp_path: Path) -> None:
    check_texts(tmp_path, "cpu")


def test_texts_go_in_and_come_out_on_cuda(tmp_path: Path, gpu: None) -> None:
    check_texts(tmp_path, "cuda")


def test_an_example_has_the_types_and_shapes_of_the_inputs(tmp_path: Path) -> None:
    manifest = add_predictor(tmp_path)
    numbers, texts = Session(Repository(tmp_path).folder(PREDICTOR, 1), manifest, "cpu", 1, 2).example()
    assert (numbers.tolist(), texts.tolist()) == ([0, 0, 0], ["", "", ""])


def test_whole_inputs_are_evaluated_beside_a_run(tmp_path: Path) -> None:
    manifest = add_predictor(tmp_path)
    session = Session(Repository(tmp_path).folder(PREDICTOR, 1), manifest, "cpu", 1, 4)
    numbers, texts = np.zeros((9, 3), np.float32), np.full((9, 3), "yearly", object)
    probabilities, log_odds = session.evaluate([numbers, texts])
    assert (probabilities.shape, log_odds.shape) == ((9, 2), (9, 1))
    assert session.run([(numbers[0], texts[0])])[0][1] == pytest.approx(log_odds[0])


def test_a_row_of_no_fixed_size_is_refused(tmp_path: Path) -> None:
    def vary(graph: onnx.ModelProto) -> None:
        graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"

    def say_so(manifest: Manifest) -> Manifest:
        pixels = manifest.inputs[0].model_copy(update={"shape": ("batch", "height", SIZE, 3)})
        return manifest.model_copy(update={"inputs": (pixels,)})

    manifest = add_version(tmp_path, change_graph=vary, change_manifest=say_so)
    with pytest.raises(ArtifactError, match=r"'images' is uint8.*, expected a fixed size but for the batch"):
        Session(Repository(tmp_path).folder(KIND, 1), manifest, "cpu", 1, 4)
