"""The description of the Open Inference Protocol's routes in OpenAPI 3.1."""

from collections.abc import Sequence
from typing import Final

from service.documents import IndexEntry, Liveness, ModelMetadata, ModelReadiness, Readiness, ServerMetadata
from service.errors import (
    BadBodyError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UnprocessableError,
)
from service.inference import InferenceRequest, InferenceResponse
from service.inference_protocol import BINARY, MEDIA_TYPES, IndexRequest
from service.kinds import KINDS
from service.schema import PREDICTION_ERRORS, REQUEST_ID, Schema, add_component, describe_reading, describe_responses

_TAG: Final = "open inference protocol"
_MODEL: Final[Schema] = {"name": "model", "in": "path", "required": True, "schema": {"enum": list(KINDS)}}
_VERSION: Final[Schema] = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
}
_HEADER_LENGTH: Final[Schema] = {
    "description": "The bytes of the JSON that the body begins with, where tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}


def add_protocol(description: Schema) -> Schema:
    """Put the protocol's routes, and the documents that they speak of, into the service's description."""
    components = description["components"]["schemas"]

    def reading(name: str, summary: str, document: Schema, parameters: Sequence[Schema] = ()) -> Schema:
        errors = (NotFoundError, OverloadedError) if parameters else (OverloadedError,)
        return describe_reading(_TAG, name, summary, {"application/json": {"schema": document}}, errors, parameters)

    metadata = add_component(ModelMetadata, components)
    readiness = add_component(ModelReadiness, components)
    request, response = add_component(InferenceRequest, components), add_component(InferenceResponse, components)
    paths: Schema = {
        "/v2": reading(
            "get_server_metadata", "The server and its extensions", add_component(ServerMetadata, components)
        ),
        "/v2/health/live": reading(
            "get_server_liveness", "Whether the process answers", add_component(Liveness, components)
        ),
        "/v2/health/ready": reading(
            "get_server_readiness", "Whether all models are loaded", add_component(Readiness, components)
        ),
        "/v2/repository/index": _index(components),
    }
    for path, ending, names in (
        ("/v2/models/{model}", "", [_MODEL]),
        ("/v2/models/{model}/versions/{version}", "_version", [_MODEL, _VERSION]),
    ):
        paths |= {
            path: reading(f"get_model{ending}_metadata", "What a model takes and gives", metadata, names),
            f"{path}/ready": reading(f"get_model{ending}_readiness", "Whether a model can be asked", readiness, names),
            f"{path}/infer": _inference(f"infer{ending}", request, response, names),
        }
    description["tags"].append({"name": _TAG})
    description["paths"] |= paths
    return description


def _inference(name: str, request: Schema, response: Schema, parameters: Sequence[Schema]) -> Schema:
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {"application/json": {"schema": response}, BINARY.decode(): binary}
    responses = describe_responses(content, PREDICTION_ERRORS)
    responses["200"]["headers"] |= {"Inference-Header-Content-Length": _HEADER_LENGTH}
    header = {"name": "Inference-Header-Content-Length", "in": "header", **_HEADER_LENGTH}
    return {
        "post": {
            "tags": [_TAG],
            "operationId": name,
            "summary": "Run a model's graph on tensors",
            "description": "The body is JSON, and behind it the tensors that it says are binary. "
            "With `Inference-Header-Content-Length: 0` it is the rows of the graph's only input and nothing else.",
            "parameters": [*parameters, header, REQUEST_ID],
            "requestBody": {
                "required": True,
                "content": dict(zip(MEDIA_TYPES, ({"schema": request}, binary), strict=True)),
            },
            "responses": responses,
        }
    }


def _index(components: Schema) -> Schema:
    entries = {"type": "array", "items": add_component(IndexEntry, components)}
    content = {"application/json": {"schema": entries}}
    path = describe_reading(_TAG, "get_model_index", "Every version that is on disk", content)
    body = {"application/json": {"schema": add_component(IndexRequest, components)}}
    errors = (BadBodyError, MethodNotAllowedError, TooLargeError, UnprocessableError)
    path["post"] = {
        **path["get"],
        "operationId": "list_model_index",
        "requestBody": {"content": body},
        "responses": describe_responses(content, errors),
    }
    return path
