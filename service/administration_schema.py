"""The description of the administrators' routes in OpenAPI 3.1."""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from service.administration import LoadRequest, PlanChange, UnloadRequest
from service.documents import ServedVersions
from service.errors import (
    BadBodyError,
    ConflictError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    RequestError,
    TooLargeError,
    UnprocessableError,
    UnsupportedMediaTypeError,
)
from service.kinds import KINDS
from service.schema import REQUEST_ID, Schema, add_component, describe_responses

_TAG: Final = "administration"
_KIND: Final[Schema] = {"name": "kind", "in": "path", "required": True, "schema": {"enum": list(KINDS)}}
_ERRORS: Final = (ForbiddenError, NotFoundError, MethodNotAllowedError, ConflictError, OverloadedError)
_BODY_ERRORS: Final = (BadBodyError, TooLargeError, UnsupportedMediaTypeError, UnprocessableError)


def add_administration(description: Schema) -> Schema:
    """Put the administrators' routes, and the documents that they speak of, into the service's description."""
    components = description["components"]["schemas"]
    served = {"application/json": {"schema": add_component(ServedVersions, components)}}

    def describe(name: str, summary: str, body: type[BaseModel] | None) -> Schema:
        errors: Sequence[type[RequestError]] = _ERRORS if body is None else (*_ERRORS, *_BODY_ERRORS)
        operation: Schema = {
            "tags": [_TAG],
            "operationId": name,
            "summary": summary,
            "parameters": [_KIND, REQUEST_ID],
            "responses": describe_responses(served, errors),
        }
        if body is not None:
            operation["requestBody"] = {"content": {"application/json": {"schema": add_component(body, components)}}}
        return operation

    description["tags"].append({"name": _TAG})
    description["paths"] |= {
        "/admin/models/{kind}": {
            "patch": describe("change_versions", "Set the default version, the canary or the shadow", PlanChange)
        },
        "/admin/models/{kind}/rollback": {
            "post": describe("roll_back", "Make the default what it was before, and end the canary", None)
        },
        "/v2/repository/models/{kind}/load": {
            "post": describe("load_model", "Load a version, or look at a kind's files anew", LoadRequest)
        },
        "/v2/repository/models/{kind}/unload": {
            "post": describe("unload_model", "Let a version go, or serve a kind no more", UnloadRequest)
        },
    }
    return description
