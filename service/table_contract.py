"""What the manifest of a model of tables must say."""

from collections.abc import Sequence
from typing import Final

from models.columns import TablePreprocessing
from models.errors import ManifestError
from models.manifest import Manifest

Tensor = tuple[str, str, tuple[int | str, ...]]  # name, dtype, shape

_FIELDS: Final = ("inputs", "outputs")


def find_table(manifest: Manifest) -> TablePreprocessing:
    """The columns that the model is about.

    Raises:
        ManifestError: it is about something else.
    """
    table = manifest.preprocessing
    if not isinstance(table, TablePreprocessing):
        raise ManifestError(f"manifest.json: preprocessing: its type is '{table.type}', expected 'table'")
    return table


def list_row_tensors(table: TablePreprocessing) -> list[Tensor]:
    """The tensors of a row: its numbers and its texts, either only if there are such columns."""
    numbers, texts = len(table.numeric_columns), len(table.text_columns)
    return [
        *([("numbers", "float32", ("batch", numbers))] if numbers else []),
        *([("texts", "string", ("batch", texts))] if texts else []),
    ]


def check_tensors(manifest: Manifest, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Check that the graph takes ``inputs`` and answers ``outputs``.

    Raises:
        ManifestError: the manifest says otherwise.
    """
    for field, tensors, expected in zip(_FIELDS, (manifest.inputs, manifest.outputs), (inputs, outputs), strict=True):
        found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
        if found != list(expected):
            raise ManifestError(f"manifest.json: {field}: {found}, expected {expected} by the columns")
