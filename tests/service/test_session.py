"""A graph on an execution provider: rows in, rows out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.errors import ArtifactError
from models.manifest import Manifest, TensorSpec
from models.repository import Repository
from service.errors import UnprocessableError
from service.providers import Provider
from service.session import Session, buckets
from tests.table_versions import GENERATOR, NOISE, PREDICTOR, add_generator, add_predictor
from tests.text_versions import KIND as SENTIMENT
from tests.text_versions import add_sentiment, make_text, read_text, run_alone
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


def open_texts(root: Path, provider: Provider, max_batch_rows: int = 64) -> Session:
    manifest = add_sentiment(root)
    return Session(Repository(root).folder(SENTIMENT, 1), manifest, provider, 1, max_batch_rows)


def check_mixes(session: Session) -> None:
    """Texts of many lengths alone, all at once with the longest among them, and in random mixes."""
    rows = [(read_text(make_text(number))[0],) for number in range(62)] + [(read_text(text)[0],) for text in ("", "a")]
    alone = [run_alone(row[0]) for row in rows]
    generator = np.random.default_rng(0)
    mixes = [range(64), *([place] for place in range(64))]
    mixes += [generator.choice(64, generator.integers(2, 17), replace=False).tolist() for _ in range(30)]
    for mix in mixes:
        for place, outputs in zip(mix, session.run([rows[place] for place in mix]), strict=True):
            for output, expected in zip(outputs, alone[place], strict=True):
                assert output.shape == (2,)
                assert output == pytest.approx(expected, abs=1e-6)


def test_a_text_gets_the_same_output_whatever_is_in_its_batch(tmp_path: Path) -> None:
    check_mixes(open_texts(tmp_path, "cpu"))


def test_a_text_gets_the_same_output_whatever_is_in_its_batch_on_cuda(tmp_path: Path, gpu: None) -> None:
    check_mixes(open_texts(tmp_path, "cuda"))


def test_where_shapes_are_warmed_no_others_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_texts(tmp_path, "cpu")
    evaluate = session.evaluate
    shapes = set()

    def watch(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        shapes.add(inputs[0].shape)
        return evaluate(inputs)

    # What a GPU is asked, asked of the CPU.
    monkeypatch.setattr(session, "_pads", True)
    monkeypatch.setattr(session, "evaluate", watch)
    check_mixes(session)
    assert {rows for rows, _ in shapes} <= set(session.buckets)
    assert {length for _, length in shapes} <= {lane.length for lane in session.lanes}


def test_texts_have_lanes_by_length_and_pictures_have_one(tmp_path: Path) -> None:
    texts, pictures = open_texts(tmp_path, "cpu"), open_session(tmp_path, "cpu", 8)
    assert [lane.length for lane in texts.lanes] == [16, 23, 32, 45, 64, 91, 100]
    for text in ("", "the film " * 20, "the film " * 100):
        ids = read_text(text)[0]
        assert texts.measure((ids,)) == len(ids)
        assert texts.lanes[texts.choose_lane((ids,))].length >= len(ids)
    with pytest.raises(UnprocessableError, match="a row is 101 long, expected at most 100"):
        texts.choose_lane((np.ones(101, np.int32),))
    assert [(lane.length, lane.max_rows) for lane in pictures.lanes] == [(1, 8)]
    assert pictures.measure((np.zeros((SIZE, SIZE, 3), np.uint8),)) == 1


def test_the_tokens_of_a_run_can_be_bounded(tmp_path: Path) -> None:
    manifest = add_sentiment(tmp_path)
    session = Session(Repository(tmp_path).folder(SENTIMENT, 1), manifest, "cpu", 1, 64, max_batch_tokens=200)
    assert [lane.max_rows for lane in session.lanes] == [8, 8, 4, 4, 2, 2, 2]


def test_an_example_of_texts_is_as_long_as_it_is_to_be_and_all_of_it_is_read(tmp_path: Path) -> None:
    (ids,) = open_texts(tmp_path, "cpu").example(23)
    assert ids.shape == (23,)
    assert ids.dtype == np.int32
    assert ids.all()


def test_an_output_of_no_fixed_size_is_refused(tmp_path: Path) -> None:
    def repeat(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node("Identity", ["token_ids"], ["echo"]))
        model.graph.output[1].CopyFrom(helper.make_tensor_value_info("echo", TensorProto.INT32, ["batch", "sequence"]))

    outputs = (
        TensorSpec(name="probabilities", dtype="float32", shape=("batch", 2)),
        TensorSpec(name="echo", dtype="int32", shape=("batch", "sequence")),
    )
    manifest = add_sentiment(tmp_path, change_graph=repeat, outputs=outputs)
    with pytest.raises(ArtifactError, match=r"'echo' is int32.*, expected a fixed size but for the batch"):
        Session(Repository(tmp_path).folder(SENTIMENT, 1), manifest, "cpu", 1, 4)


def test_a_row_of_no_fixed_size_is_refused(tmp_path: Path) -> None:
    def vary(graph: onnx.ModelProto) -> None:
        graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"

    def say_so(manifest: Manifest) -> Manifest:
        pixels = manifest.inputs[0].model_copy(update={"shape": ("batch", "height", SIZE, 3)})
        return manifest.model_copy(update={"inputs": (pixels,)})

    manifest = add_version(tmp_path, change_graph=vary, change_manifest=say_so)
    with pytest.raises(ArtifactError, match=r"'images' is uint8.*, expected a fixed size but for the batch"):
        Session(Repository(tmp_path).folder(KIND, 1), manifest, "cpu", 1, 4)


def test_what_fills_up_a_run_is_a_row_of_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that no run survives would otherwise fail runs that it is not in."""
    session = open_session(tmp_path, "cpu", 8)
    evaluate = session.evaluate
    seen: list[NDArray[Any]] = []

    def watch(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        seen.append(inputs[0].copy())
        return evaluate(inputs)

    # What a GPU is asked, asked of the CPU.
    monkeypatch.setattr(session, "_pads", True)
    monkeypatch.setattr(session, "evaluate", watch)
    pictures = [np.full((SIZE, SIZE, 3), 10 * number, np.uint8) for number in range(8)]
    session.run([(picture,) for picture in pictures])
    outputs = session.run([(picture,) for picture in pictures[1:4]])
    assert len(outputs) == 3
    assert seen[1][:, 0, 0, 0].tolist() == [10, 20, 30, 10]
