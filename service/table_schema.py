"""The columns of a table in JSON Schema, as the description of the service shows them."""

from typing import Any, Final

from models.columns import Column, TablePreprocessing, write_text

Schema = dict[str, Any]

_MAX_EXAMPLES: Final = 12


def describe_request_row(preprocessing: TablePreprocessing) -> Schema:
    """A row as a client may send it."""
    properties = {column.name: _describe(column) for column in preprocessing.columns}
    if preprocessing.identifier is not None:
        properties[preprocessing.identifier] = {
            "type": ["string", "number", "null"],
            "description": "Names the row; it is not read, and comes back with the answer.",
        }
    for name, reason in {**preprocessing.dropped, preprocessing.target.name: "it is what is predicted"}.items():
        properties[name] = {"description": f"Not read: {reason}."}
    return {
        "type": "object",
        "properties": properties,
        "required": [column.name for column in preprocessing.columns],
        "additionalProperties": False,
    }


def describe_answer_row(preprocessing: TablePreprocessing) -> Schema:
    """A row as it is answered: with its target."""
    columns = (*preprocessing.columns, preprocessing.target)
    properties = {column.name: _describe(column) for column in columns}
    return {"type": "object", "properties": properties, "required": [column.name for column in columns]}


def describe_target(preprocessing: TablePreprocessing) -> Schema:
    """One of the target's two words, or nothing."""
    return _describe(preprocessing.target)


def _describe(column: Column) -> Schema:
    if column.type == "number":
        return {"type": ["number", "null"], **_describe_range(column.minimum, column.maximum)}
    if column.type == "date":
        return {"type": ["string", "null"], "format": "date"}
    categories = [write_text(category) for category in column.categories]
    if column.open:
        examples = categories[:_MAX_EXAMPLES]
        return {"type": ["string", "number", "boolean", "null"], "examples": examples}
    return {"enum": [*categories, None]}


def _describe_range(minimum: float | None, maximum: float | None) -> Schema:
    """What training has seen, which bounds nothing."""
    if minimum is None or maximum is None:
        return {}
    return {"description": f"Seen in training: {minimum:g} to {maximum:g}.", "examples": [minimum]}
