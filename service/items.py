"""One item of a request on its way through a model."""

from typing import Any, NamedTuple

from service.session import Row


class Item(NamedTuple):
    """The row that the graph reads for an item, and what else its answer needs to know of it."""

    row: Row
    facts: Any = None
