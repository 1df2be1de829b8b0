"""The tensors that the manifest of a model of tables must list."""

from models.columns import TablePreprocessing
from service.tensor_contract import Tensor


def list_row_tensors(table: TablePreprocessing) -> list[Tensor]:
    """The tensors of a row: its numbers and its texts, either only if there are such columns."""
    numbers, texts = len(table.numeric_columns), len(table.text_columns)
    return [
        *([("numbers", "float32", ("batch", numbers))] if numbers else []),
        *([("texts", "string", ("batch", texts))] if texts else []),
    ]
