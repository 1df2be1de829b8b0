"""The manifest: everything that describes one version of one model, as frozen data.

A version is a folder ``models/<kind>/<version>/`` with ``manifest.json`` and the files it lists:
``model.onnx``, ``golden.json``, ``card.md`` and its pictures, and what else the kind needs. The
manifest carries the sha256 of each, so that a version is either exactly what training wrote or is
refused. All errors are :class:`~models.errors.ModelError` and name file, field, value, expectation.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, model_validator

from models.columns import TablePreprocessing
from models.distributions import CategoricalDistribution, NumericDistribution, Statistics
from models.errors import ArtifactError, ManifestError
from models.features import Feature, list_input_features, list_prediction_features
from models.image import ImagePreprocessing
from models.text import TextPreprocessing

FORMAT: Final = 1
MANIFEST_FILE = "manifest.json"
GRAPH_FILE = "model.onnx"
GOLDEN_FILE = "golden.json"
CARD_FILE = "card.md"
REQUIRED_FILES = (GRAPH_FILE, GOLDEN_FILE, CARD_FILE)
MAX_MANIFEST_BYTES = 4 * 2**20

Data = TypeVar("Data", bound=BaseModel)
AnyPreprocessing = TypeVar("AnyPreprocessing", ImagePreprocessing, TablePreprocessing, TextPreprocessing)

KindName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
DType = Literal["bool", "uint8", "int32", "int64", "float16", "float32", "float64", "string"]

# One member for each type of data that a kind may read. A kind on a type that stands here adds nothing.
Preprocessing = Annotated[ImagePreprocessing | TablePreprocessing | TextPreprocessing, Field(discriminator="type")]


class Frozen(BaseModel):
    """Immutable data without unknown fields and without silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TensorSpec(Frozen):
    """One input or output of the graph. A dimension is a size, or a name where it varies."""

    name: Text
    dtype: DType
    shape: tuple[Annotated[int, Field(ge=1)] | Text, ...]


class DataSource(Frozen):
    """What the model was trained and tested on. ``sha256`` digests the training data as it was read."""

    name: Text
    source: Text
    sha256: Sha256
    train_examples: int = Field(ge=1)
    validation_examples: int = Field(ge=0)
    test_examples: int = Field(ge=0)


class Provenance(Frozen):
    """How to make this version again."""

    command: Text
    seed: int
    data: DataSource
    settings: Mapping[str, JsonValue]
    libraries: Mapping[Text, Text]
    hardware: Text
    training_seconds: float = Field(gt=0)


class RiskBand(Frozen):
    """A name for the probabilities from ``minimum`` up to the next band's."""

    name: Text
    minimum: float = Field(ge=0, lt=1)


class Decision(Frozen):
    """What a probability of the last label leads to: yes from ``threshold`` on, and a band, in ascending order."""

    threshold: float = Field(gt=0, lt=1)
    bands: tuple[RiskBand, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        minimums = [band.minimum for band in self.bands]
        if minimums[0] != 0 or any(low >= high for low, high in pairwise(minimums)):
            raise ValueError(f"bands: they begin at {minimums}, expected 0 and then always more")
        return self


class Manifest(Frozen):
    """One version of one model: what it takes, what it answers, how good it is and where it came from.

    ``inputs`` and ``outputs`` are the graph's, in its order; each first dimension is ``"batch"``.
    ``decision`` is there where probabilities lead to one. ``metrics`` are measured on the test split,
    which chose nothing. ``statistics`` say what the version has seen, for what it is asked to be compared with; they
    need probabilities of ``labels`` as the first output. ``files`` maps the name of every file beside the manifest to
    its sha256; it is empty until the version is added.
    """

    format: Literal[1] = FORMAT
    kind: KindName
    version: int = Field(ge=1)
    created: datetime = Field(strict=False)
    task: Text
    description: Text
    architecture: Text
    parameters: int = Field(ge=1)
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    labels: tuple[Text, ...] = ()
    preprocessing: Preprocessing
    decision: Decision | None = None
    metrics: Mapping[Text, JsonValue]
    statistics: Statistics | None = None
    provenance: Provenance
    files: Mapping[FileName, Sha256] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("inputs", "outputs"):
            tensors: tuple[TensorSpec, ...] = getattr(self, field)
            _refuse_duplicates(field, [tensor.name for tensor in tensors])
            for tensor in tensors:
                if not tensor.shape or tensor.shape[0] != "batch":
                    raise ValueError(f"{field}: the first dimension of '{tensor.name}' is not 'batch': {tensor.shape}")
        _refuse_duplicates("labels", self.labels)
        if self.statistics is not None:
            self._check_statistics(self.statistics)
        return self

    def _check_statistics(self, statistics: Statistics) -> None:
        answer = self.outputs[0]
        if not self.labels or (answer.dtype, answer.shape) != ("float32", ("batch", len(self.labels))):
            raise ValueError(
                f"statistics: the first output is {_describe([answer])}, expected probabilities of the labels"
            )
        prediction = list_prediction_features(has_decision=self.decision is not None)
        _check_features("inputs", statistics.inputs, list_input_features(self.preprocessing))
        _check_features("predictions", statistics.predictions, prediction)


class GoldenRequest(Frozen):
    """A raw request: the body exactly as a client sends it, in base64."""

    content_type: Text
    query: Mapping[str, str] = {}
    body: str

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The request whose body is ``document`` in JSON."""
        body = base64.b64encode(json.dumps(document).encode()).decode("ascii")
        return cls(content_type="application/json", body=body)


class GoldenExample(Frozen):
    """A raw request and the predictions that training computed for it."""

    request: GoldenRequest
    predictions: tuple[JsonValue, ...] = Field(min_length=1)


class Golden(Frozen):
    """The examples that prove both halves agree. Numbers may differ by ``tolerance``, nothing else may."""

    tolerance: float = Field(gt=0, le=0.05)
    examples: tuple[GoldenExample, ...] = Field(min_length=1)


def find_preprocessing(manifest: Manifest, kind: type[AnyPreprocessing]) -> AnyPreprocessing:
    """How a version of a kind that reads ``kind`` of data does so.

    Raises:
        ManifestError: it reads another.
    """
    found = manifest.preprocessing
    if not isinstance(found, kind):
        expected = kind.model_fields["type"].default
        raise ManifestError(f"{MANIFEST_FILE}: preprocessing: its type is '{found.type}', expected '{expected}'")
    return found


def load_manifest(folder: Path) -> Manifest:
    """Read and check ``folder/manifest.json``; the folder's name and its parent's must agree with it.

    Raises:
        ManifestError: it is missing, too large, not JSON, or a field is wrong.
    """
    path = folder / MANIFEST_FILE
    manifest = _parse(Manifest, path, MAX_MANIFEST_BYTES)
    for name in REQUIRED_FILES:
        if name not in manifest.files:
            raise ManifestError(f"{path}: files: '{name}' is missing, expected {', '.join(REQUIRED_FILES)}")
    if folder.name != str(manifest.version):
        raise ManifestError(f"{path}: version: {manifest.version} is not the name of its folder, '{folder.name}'")
    if folder.parent.name != manifest.kind:
        raise ManifestError(f"{path}: kind: '{manifest.kind}' is not the name of its folder, '{folder.parent.name}'")
    return manifest


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest`` as ``folder/manifest.json``."""
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_golden(folder: Path) -> Golden:
    """Read and check ``folder/golden.json``.

    Raises:
        ManifestError: it is missing, too large, not JSON, or a field is wrong.
    """
    return _parse(Golden, folder / GOLDEN_FILE, 16 * MAX_MANIFEST_BYTES)


def save_golden(folder: Path, golden: Golden) -> None:
    """Write ``golden`` as ``folder/golden.json``."""
    (folder / GOLDEN_FILE).write_text(golden.model_dump_json(indent=1) + "\n", encoding="utf-8")


def digest_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(folder: Path) -> dict[str, str]:
    """The sha256 of every file in ``folder`` except the manifest, by name, in order of name."""
    return {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_FILE}


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Check that ``folder`` holds exactly the files that ``manifest`` lists, with their sha256.

    Raises:
        ArtifactError: a file is missing, is not listed, is no plain file, or has another digest.
    """
    present = {path.name for path in folder.iterdir()} - {MANIFEST_FILE}
    for name in sorted(present - set(manifest.files)):
        raise ArtifactError(f"{folder / name}: not in files of the manifest: expected {sorted(manifest.files)}")
    for name, expected in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path}: missing or no plain file, but the manifest lists it")
        found = digest_file(path)
        if found != expected:
            raise ArtifactError(f"{path}: sha256 is {found}, expected {expected} from files of the manifest")


def verify_graph(folder: Path, manifest: Manifest, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Check that the graph's own ``inputs`` and ``outputs`` are those of ``manifest``: names, dtypes, shapes, order.

    Raises:
        ArtifactError: they differ.
    """
    for field, found, expected in (("inputs", inputs, manifest.inputs), ("outputs", outputs, manifest.outputs)):
        if tuple(found) != tuple(expected):
            raise ArtifactError(
                f"{folder / GRAPH_FILE}: {field}: {_describe(found)}, expected {_describe(expected)} from the manifest"
            )


def _describe(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype}{list(tensor.shape)}" for tensor in tensors) or "none"


def _check_features(
    field: str, found: Sequence[NumericDistribution | CategoricalDistribution], expected: Sequence[Feature]
) -> None:
    have = [(each.name, each.type) for each in found]
    want = [(feature.name, "numeric" if feature.is_numeric else "categorical") for feature in expected]
    if have != want:
        raise ValueError(f"statistics: {field}: {have}, expected {want}")


def _refuse_duplicates(field: str, values: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{field}: '{value}' stands more than once")


def _parse(model: type[Data], path: Path, max_bytes: int) -> Data:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ManifestError(f"{path}: {size:,} bytes, expected at most {max_bytes:,}")
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise ManifestError(f"{path}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    value = re.sub(r"\s+", " ", json.dumps(problem["input"], default=str))
    shown = value if len(value) <= 80 else value[:80] + "…"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{field or 'the file'}: {message}" + (f", got {shown}" if field else "")
