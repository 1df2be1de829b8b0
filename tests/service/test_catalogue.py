"""A version is served if it is what it says it is; else the next older one is."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from models.manifest import Manifest, digest_file
from service.catalogue import Catalogue, NoModelError
from service.config import Settings
from service.errors import NotFoundError, OverloadedError
from service.metrics import Metrics
from service.providers import ProviderError
from service.session import Row, Session
from tests.versions import KIND, add_version

Spoil = Callable[[Path], object]


def load(root: Path, *, is_rehearsal: bool = False, **settings: object) -> Catalogue:
    catalogue = Catalogue(Settings.model_validate({"models": root, **settings}), Metrics(), is_rehearsal=is_rehearsal)
    catalogue.load()
    return catalogue


def change_labels(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"labels": ("red", "green")})


def change_output_type(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"outputs": (manifest.outputs[0].model_copy(update={"dtype": "float64"}),)})


def change_size(manifest: Manifest) -> Manifest:
    inputs = (manifest.inputs[0].model_copy(update={"shape": ("batch", 9, 9, 3)}),)
    preprocessing = manifest.preprocessing.model_copy(update={"height": 9, "width": 9})
    return manifest.model_copy(update={"inputs": inputs, "preprocessing": preprocessing})


def rename_output(graph: onnx.ModelProto) -> None:
    graph.graph.node[-1].output[0] = "scores"
    graph.graph.output[0].name = "scores"


def change_channels(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 8, 8, 1]))


def break_operator(graph: onnx.ModelProto) -> None:
    graph.graph.node[-1].op_type = "NoSuchOperator"


def rewrite_golden(root: Path) -> None:
    """Change an expected label, and make the manifest's digest fit, as nobody does by accident."""
    folder = root / KIND / "2"
    golden = json.loads((folder / "golden.json").read_text())
    golden["examples"][1]["predictions"][0]["label"] = "mauve"
    (folder / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = digest_file(folder / "golden.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def append(name: str) -> Spoil:
    def spoil(root: Path) -> None:
        with (root / KIND / "2" / name).open("ab") as file:
            file.write(b"\n")

    return spoil


@pytest.mark.parametrize("is_rehearsal", [False, True])
@pytest.mark.parametrize(
    ("added", "spoil", "reason"),
    [
        ({}, append("model.onnx"), "image_classifier/2/model.onnx: sha256 is"),
        ({}, append("card.md"), "image_classifier/2/card.md: sha256 is"),
        ({}, lambda root: (root / KIND / "2" / "golden.json").unlink(), "golden.json: missing"),
        (
            {},
            lambda root: (root / KIND / "2" / "manifest.json").write_text("{"),
            "manifest.json: the file: Invalid JSON",
        ),
        ({}, rewrite_golden, "golden.json: examples[1]: predictions[0].label: blue, expected mauve"),
        ({"golden_shift": 0.001}, None, "golden.json: examples[0]: predictions[0]"),
        (
            {"change_graph": rename_output},
            None,
            "model.onnx: outputs: scores float32['batch', 3], expected probabilities",
        ),
        (
            {"change_graph": change_channels},
            None,
            "model.onnx: inputs: images uint8['batch', 8, 8, 1], expected images",
        ),
        ({"change_graph": break_operator}, None, "model.onnx: ONNX Runtime cannot load it on cpu"),
        ({"change_manifest": change_labels}, None, "manifest.json: outputs: "),
        ({"change_manifest": change_output_type}, None, "manifest.json: outputs: "),
        ({"change_manifest": change_size}, None, "model.onnx: inputs: images uint8['batch', 8, 8, 3], expected"),
    ],
)
def test_a_version_that_is_not_what_it_says_is_refused_and_the_older_one_serves(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    added: dict[str, object],
    spoil: Spoil | None,
    reason: str,
    is_rehearsal: bool,
) -> None:
    add_version(tmp_path)
    add_version(tmp_path, **added)  # type: ignore[arg-type]
    if spoil is not None:
        spoil(tmp_path)
    with caplog.at_level(logging.INFO):
        catalogue = load(tmp_path, is_rehearsal=is_rehearsal)
    assert catalogue.find(KIND).manifest.version == 1
    refusal = catalogue.refusals[0]
    assert (refusal.kind, refusal.version) == (KIND, 2)
    assert reason in refusal.reason
    assert str(tmp_path) not in refusal.reason
    assert f"refused {KIND} version 2: {refusal.reason}" in caplog.messages


@pytest.mark.parametrize("is_rehearsal", [False, True])
def test_a_version_is_warmed_unless_it_is_a_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_rehearsal: bool
) -> None:
    add_version(tmp_path)
    run, sizes = Session.run, set()

    def note(session: Session, rows: Sequence[Row]) -> list[Row]:
        sizes.add(len(rows))
        return run(session, rows)

    monkeypatch.setattr(Session, "run", note)
    load(tmp_path, is_rehearsal=is_rehearsal, max_batch_rows=8)
    assert sizes == ({1} if is_rehearsal else {1, 2, 4, 8})


def test_the_newest_version_serves(tmp_path: Path) -> None:
    for _ in range(3):
        add_version(tmp_path)
    catalogue = load(tmp_path)
    assert catalogue.find(KIND).manifest.version == 3
    assert catalogue.find(KIND, version=3).manifest.version == 3
    with pytest.raises(NotFoundError, match="version 2 of image_classifier is not loaded, expected 3"):
        catalogue.find(KIND, version=2)


def test_without_a_version_that_can_be_served_there_is_no_service(tmp_path: Path) -> None:
    add_version(tmp_path, golden_shift=0.01)
    add_version(tmp_path, change_graph=break_operator)
    with pytest.raises(NoModelError) as error:
        load(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{tmp_path}: holds no model that can be served"
    assert lines[1].startswith("  image_classifier version 2: image_classifier/2/model.onnx: ONNX Runtime cannot load")
    assert lines[2].startswith(
        "  image_classifier version 1: image_classifier/1/golden.json: examples[0]: predictions[0]"
    )


def test_an_empty_folder_of_models_is_no_service(tmp_path: Path) -> None:
    with pytest.raises(NoModelError, match="holds no model that can be served"):
        load(tmp_path)


def test_a_kind_that_nobody_knows_is_named_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_version(tmp_path)
    (tmp_path / "crystal_ball" / "1").mkdir(parents=True)
    load(tmp_path)
    assert "crystal_ball: no such kind of model, expected one of churn, image_classifier, " in caplog.text


def test_before_the_models_are_loaded_requests_are_asked_to_come_again(tmp_path: Path) -> None:
    add_version(tmp_path)
    with pytest.raises(OverloadedError, match="being loaded"):
        Catalogue(Settings.model_construct(models=tmp_path), Metrics()).find(KIND)


def test_a_provider_that_cannot_be_used_is_no_service(tmp_path: Path, no_gpu: None) -> None:
    add_version(tmp_path)
    with pytest.raises(ProviderError, match="provider 'cuda': expected CUDAExecutionProvider in use, found CPU"):
        load(tmp_path, provider="cuda")


def test_auto_takes_the_cpu_where_there_is_no_gpu(
    tmp_path: Path, no_gpu: None, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(tmp_path)
    with caplog.at_level(logging.INFO):
        assert load(tmp_path).find(KIND).provider == "cpu"
    assert "provider auto: no CUDA device, so the CPU" in caplog.messages


def test_golden_examples_do_not_fail_by_the_limits_that_a_user_sets(tmp_path: Path) -> None:
    add_version(tmp_path)
    assert load(tmp_path, max_pixels=1).find(KIND).manifest.version == 1
