"""What the manifest of a model of tables must say."""

from models.columns import TablePreprocessing
from models.errors import ManifestError
from models.manifest import Manifest
from service.tensor_contract import Tensor


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
