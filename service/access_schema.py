"""What the OpenAPI description says of keys, limits and time-outs, which are the same for every route."""

from typing import Final

from service.errors import ForbiddenError, TooManyRequestsError, UnauthorizedError
from service.gate import PROBES
from service.schema import Schema, describe_responses

_TIMEOUT: Final[Schema] = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "The seconds that the client waits, as in `0.25`; at most the service's own deadline.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
_SCHEMES: Final[Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the service has keys."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in a header of its own."},
}


def add_access(document: Schema) -> Schema:
    """``document`` with the keys that its routes take, who is refused without, and the time that a client gives."""
    refusals = describe_responses({}, (UnauthorizedError, ForbiddenError, TooManyRequestsError))
    del refusals["200"]
    paths = {
        path: {method: _add_to_operation(path, method, operation, refusals) for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    # An empty requirement: without keys the service is open.
    security: list[Schema] = [{}, *({name: []} for name in _SCHEMES)]
    components = {**document["components"], "securitySchemes": _SCHEMES}
    return {**document, "paths": paths, "security": security, "components": components}


def _add_to_operation(path: str, method: str, operation: Schema, refusals: Schema) -> Schema:
    if path in PROBES:
        return {**operation, "security": []}
    added = {**operation, "responses": {**operation["responses"], **refusals}}
    if method == "post":
        added["parameters"] = [*operation.get("parameters", ()), _TIMEOUT]
    return added
