"""Every way in which a manifest or a file can be wrong is refused, by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import ArtifactError, ManifestError
from models.manifest import MAX_MANIFEST_BYTES, TensorSpec, load_golden, load_manifest, verify_files, verify_graph
from tests.versions import KIND, add_version

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add_version(tmp_path)
    return tmp_path / KIND / "1"


def rewrite(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def setting(field: str, value: object) -> Change:
    """Sets a field, given as a path with dots, to ``value``."""

    def change(content: dict[str, Any]) -> None:
        *parents, last = field.split(".")
        target: Any = content
        for parent in parents:
            target = target[int(parent) if parent.isdigit() else parent]
        target[last] = value

    return change


def test_a_manifest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = add_version(tmp_path)
    assert load_manifest(tmp_path / KIND / "1") == saved


@pytest.mark.parametrize(
    ("field", "value", "expectation"),
    [
        ("format", 2, "Input should be 1"),
        ("kind", "Image Classifier", "String should match pattern"),
        ("kind", "sentiment", "is not the name of its folder, 'image_classifier'"),
        ("version", 0, "greater than or equal to 1"),
        ("version", "1", "valid integer"),
        ("version", 7, "is not the name of its folder, '1'"),
        ("created", "yesterday", "valid datetime"),
        ("task", "", "at least 1 character"),
        ("parameters", 0, "greater than or equal to 1"),
        ("parameters", 1.5, "valid integer"),
        ("inputs", [], "at least 1 item"),
        ("inputs.0.dtype", "float128", "Input should be 'bool'"),
        ("inputs.0.shape", [1, 8, 8, 3], "the first dimension of 'images' is not 'batch'"),
        ("inputs.0.shape", [], "the first dimension of 'images' is not 'batch'"),
        ("inputs.0.shape", ["batch", 0], "greater than or equal to 1"),
        ("outputs", None, "valid"),
        ("labels", ["red", "red", "blue"], "'red' stands more than once"),
        ("labels", ["red", "", "blue"], "at least 1 character"),
        ("preprocessing.channels", 4, "Input should be 1 or 3"),
        ("preprocessing.fit", "guess", "Input should be 'crop' or 'stretch'"),
        ("preprocessing.mean", 0.5, "Extra inputs are not permitted"),
        ("provenance.training_seconds", 0, "greater than 0"),
        ("provenance.data.sha256", "abc", "String should match pattern"),
        ("files", {}, "'model.onnx' is missing"),
        ("files", {"../secret": "0" * 64}, "String should match pattern"),
        ("surprise", 1, "Extra inputs are not permitted"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(folder: Path, field: str, value: object, expectation: str) -> None:
    rewrite(folder / "manifest.json", setting(field, value))
    with pytest.raises(ManifestError) as refusal:
        load_manifest(folder)
    message = str(refusal.value)
    assert str(folder / "manifest.json") in message
    assert field.split(".")[0] in message
    assert expectation in message


STATISTICS: dict[str, Any] = {
    "input_rows": 10,
    "inputs": [
        {"type": "numeric", "name": "brightness", "edges": [100.0], "shares": [0.5, 0.5]},
        {"type": "numeric", "name": "contrast", "edges": [], "shares": [1.0]},
    ],
    "prediction_rows": 5,
    "predictions": [
        {"type": "categorical", "name": "label", "categories": ["red", "blue"], "shares": [0.4, 0.4], "other": 0.2},
        {"type": "numeric", "name": "confidence", "edges": [0.5], "shares": [0.2, 0.8]},
    ],
}


def test_a_manifest_may_say_what_the_version_has_seen(folder: Path) -> None:
    assert load_manifest(folder).statistics is None
    rewrite(folder / "manifest.json", setting("statistics", STATISTICS))
    statistics = load_manifest(folder).statistics
    assert statistics is not None
    assert [each.name for each in (*statistics.inputs, *statistics.predictions)] == [
        *("brightness", "contrast", "label", "confidence")
    ]


@pytest.mark.parametrize(
    ("field", "value", "expectation"),
    [
        (
            "statistics.inputs",
            STATISTICS["inputs"][:1],
            "expected [('brightness', 'numeric'), ('contrast', ",
        ),
        ("statistics.inputs", STATISTICS["inputs"][::-1], "statistics: inputs: [('contrast', 'numeric')"),
        (
            "statistics.predictions.1.name",
            "probability",
            "expected [('label', 'categorical'), ('confidence', ",
        ),
        ("statistics.inputs.0.shares", [0.5, 0.6], "'brightness' and the rest add up to 1.1, expected 1"),
        ("statistics.inputs.0.type", "ordinal", "does not match any of the expected tags"),
        ("statistics.input_rows", 0, "greater than or equal to 1"),
        ("labels", [], "statistics: the first output is probabilities float32['batch', 3], expected probabilities of"),
        ("labels", ["red"], "expected probabilities of the labels"),
    ],
)
def test_statistics_of_other_features_than_the_version_has_are_refused(
    folder: Path, field: str, value: object, expectation: str
) -> None:
    rewrite(folder / "manifest.json", setting("statistics", STATISTICS))
    rewrite(folder / "manifest.json", setting(field, value))
    with pytest.raises(ManifestError) as refusal:
        load_manifest(folder)
    assert expectation in str(refusal.value)


def test_a_missing_field_is_named(folder: Path) -> None:
    rewrite(folder / "manifest.json", lambda content: content.pop("metrics"))
    with pytest.raises(ManifestError, match=r"manifest\.json: metrics: Field required"):
        load_manifest(folder)


def test_the_value_that_is_wrong_is_shown_and_cut_where_it_is_long(folder: Path) -> None:
    rewrite(folder / "manifest.json", setting("kind", "X" * 500))
    with pytest.raises(ManifestError, match=r"got \"X{79}…"):
        load_manifest(folder)


@pytest.mark.parametrize(
    ("content", "expectation"),
    [(b"", "JSON"), (b"{", "JSON"), (b"[]", "object"), (b"\xff\xfe", "JSON"), (b"null", "object")],
)
def test_what_is_no_json_object_is_no_manifest(folder: Path, content: bytes, expectation: str) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError, match=expectation):
        load_manifest(folder)


def test_a_missing_manifest_is_named(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(ManifestError, match=r"manifest\.json: cannot be read: No such file"):
        load_manifest(folder)


def test_a_manifest_that_is_too_large_is_not_read(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(ManifestError, match=r"4,194,305 bytes, expected at most 4,194,304"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "card.md"])
def test_a_changed_file_is_refused_by_its_digest(folder: Path, name: str) -> None:
    manifest = load_manifest(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactError, match=rf"{name}: sha256 is [0-9a-f]{{64}}, expected {manifest.files[name]}"):
        verify_files(folder, manifest)


def test_a_missing_file_is_refused(folder: Path) -> None:
    manifest = load_manifest(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx: missing"):
        verify_files(folder, manifest)


def test_a_foreign_file_is_refused(folder: Path) -> None:
    manifest = load_manifest(folder)
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(ArtifactError, match=r"notes\.txt: not in files of the manifest"):
        verify_files(folder, manifest)


def test_a_link_is_no_file_of_a_version(folder: Path, tmp_path: Path) -> None:
    manifest = load_manifest(folder)
    elsewhere = tmp_path / "elsewhere.onnx"
    (folder / "model.onnx").rename(elsewhere)
    (folder / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(ArtifactError, match=r"model\.onnx: missing or no plain file"):
        verify_files(folder, manifest)


@pytest.mark.parametrize(
    "change", [{"name": "pixels"}, {"dtype": "float32"}, {"shape": ("batch", 9, 8, 3)}, {"shape": ("N", 8, 8, 3)}]
)
def test_a_graph_with_other_tensors_is_refused(folder: Path, change: dict[str, Any]) -> None:
    manifest = load_manifest(folder)
    inputs = [manifest.inputs[0].model_copy(update=change)]
    with pytest.raises(ArtifactError, match=r"model\.onnx: inputs: .* expected images uint8\['batch', 8, 8, 3\]"):
        verify_graph(folder, manifest, inputs, manifest.outputs)


def test_a_graph_with_more_outputs_is_refused(folder: Path) -> None:
    manifest = load_manifest(folder)
    outputs = [*manifest.outputs, TensorSpec(name="logits", dtype="float32", shape=("batch", 3))]
    with pytest.raises(ArtifactError, match=r"model\.onnx: outputs: .*logits"):
        verify_graph(folder, manifest, manifest.inputs, outputs)


@pytest.mark.parametrize(
    ("field", "value", "expectation"),
    [
        ("tolerance", 0, "greater than 0"),
        ("tolerance", 1, "less than or equal to 0.05"),
        ("examples", [], "at least 1 item"),
        ("examples.0.predictions", [], "at least 1 item"),
        ("examples.0.request.body", 1, "valid string"),
    ],
)
def test_golden_examples_that_cannot_be_are_refused(folder: Path, field: str, value: object, expectation: str) -> None:
    rewrite(folder / "golden.json", setting(field, value))
    with pytest.raises(ManifestError, match=expectation):
        load_golden(folder)
