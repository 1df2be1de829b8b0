"""What a graph writes becomes rows of a table, as JSON has them."""

import math
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from models.columns import Column, TablePreprocessing, write_text
from service.session import Row

_EPOCH: Final = date(1970, 1, 1).toordinal()

Write = Callable[[Any], object]


class TableWriter:
    """Writes rows that :func:`models.columns.read_value` reads as what they were: the counterpart of TableReader.

    Numbers have as many decimals as their column, days are in ISO form, and a missing value is None. The target stands
    behind the columns.

    Args:
        preprocessing: the columns.
    """

    def __init__(self, preprocessing: TablePreprocessing) -> None:
        in_order = (*preprocessing.numeric_columns, *preprocessing.text_columns)
        places = {column.name: place for place, column in enumerate(in_order)}
        self._plan = [(column.name, places[column.name], _compile(column)) for column in preprocessing.columns]
        self._target = preprocessing.target.name
        self.words = [write_text(word) for word in preprocessing.target.categories]
        self.names = [*(column.name for column in preprocessing.columns), self._target]

    def write(self, row: Row, target: int) -> dict[str, object]:
        """One row of the table.

        Args:
            row: the graph's outputs: numbers (numeric columns,) and texts (other columns,), either only if it is there.
            target: which of the target's two words it is.
        """
        values = [value for output in row for value in output.tolist()]
        record = {name: write(values[place]) for name, place, write in self._plan}
        record[self._target] = self.words[target]
        return record


def _compile(column: Column) -> Write:
    if column.type == "date":
        return lambda value: None if math.isnan(value) else date.fromordinal(_EPOCH + round(value)).isoformat()
    if column.type == "number":
        places = column.decimals or None  # without places it becomes a whole number
        return lambda value: None if math.isnan(value) else round(value, places)
    usual = {category: write_text(category) for category in column.categories}
    return lambda value: usual[value] if value in usual else write_text(value)
