"""The service's description in OpenAPI 3.1, from the pydantic models of its kinds and the models that are loaded."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from service import VERSION
from service.documents import Models, Problem, ServedManifest
from service.errors import (
    BadBodyError,
    DeadlineError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    RequestError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnprocessableError,
    UnsupportedMediaTypeError,
)
from service.kinds import KINDS, GeneratingKind, Kind, ModelKind
from service.queries import Query
from service.runtime import Model

Schema = dict[str, Any]

_COMPONENTS: Final = "#/components/schemas/{model}"
REQUEST_ID: Final[Schema] = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Comes back with the answer and stands in the log; one is made if there is none.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}
PREDICTION_ERRORS: Final = (
    BadBodyError,
    NotFoundError,
    MethodNotAllowedError,
    TooLargeError,
    UnsupportedMediaTypeError,
    UnprocessableError,
    OverloadedError,
    DeadlineError,
)
_ERROR_HEADERS: Final[Mapping[type[RequestError], Schema]] = {
    MethodNotAllowedError: {"Allow": {"schema": {"type": "string"}}},
    OverloadedError: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
    TooManyRequestsError: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
    UnauthorizedError: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    ForbiddenError: {"WWW-Authenticate": {"schema": {"type": "string"}}},
}


_NO_HEADERS: Final[Mapping[str, Schema]] = MappingProxyType({})
_SEED: Final[Schema] = {
    "description": "The seed of an answer that is no JSON.",
    "schema": {"type": "integer", "minimum": 0},
}


def describe_service(models: Iterable[Model]) -> Schema:
    """The whole description: every route with its parameters, bodies, answers and errors."""
    loaded = {model.manifest.kind: model for model in models}
    components: dict[str, Schema] = {}
    for document in (Problem, Models, ServedManifest):
        add_component(document, components)
    paths = {kind.ROUTE: _prediction(name, kind, loaded.get(name), components) for name, kind in KINDS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard",
            "version": VERSION,
            "summary": "Small neural networks as one HTTP service.",
            "description": "Every answer carries `X-Request-Id`. Every failure, on every route, is a `Problem`.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": "predictions"}, {"name": "models"}, {"name": "operations"}],
        "paths": {**paths, **_model_paths(), **_operation_paths()},
        "components": {"schemas": components},
    }


def _prediction(name: str, kind: Kind, model: Model | None, components: dict[str, Schema]) -> Schema:
    # Every kind has a Request and a Response, so their names carry the kind's.
    prefix = name.title().replace("_", "")
    response = add_component(kind.Response, components, prefix)
    request = add_component(kind.Request, components, prefix)
    if model is not None and isinstance(kind, ModelKind):
        for document, fields in kind.describe(model.manifest).items():
            for field, schema in fields.items():
                properties = components[prefix + document]["properties"]
                properties[field] = {**_keep_texts(properties[field]), **schema}
    bodies: dict[str, Schema] = {media_type: {"schema": schema} for media_type, schema in kind.MEDIA_TYPES.items()}
    bodies["application/json"] = {"schema": request}
    answers: dict[str, Schema] = {"application/json": {"schema": response}}
    headers: Mapping[str, Schema] = _NO_HEADERS
    if isinstance(kind, GeneratingKind):
        headers = {"X-Seed": _SEED}
        answers = {media_type: answers.get(media_type) or _describe_file(media_type) for media_type in kind.ENCODERS}
    if model is not None:
        for media_type, answer in model.example.answers.items():
            answers[media_type]["example"] = answer
        if model.example.request is not None:
            bodies["application/json"]["example"] = model.example.request
    return {
        "post": {
            "tags": ["predictions"],
            "operationId": name,
            "summary": _first_line(kind.__doc__),
            "description": model.manifest.description if model is not None else "No version of this model is loaded.",
            "parameters": [*_query_parameters(kind.Query), REQUEST_ID],
            "requestBody": {"required": True, "content": bodies},
            "responses": describe_responses(answers, PREDICTION_ERRORS, headers),
        }
    }


def _describe_file(media_type: str) -> Schema:
    """An answer that is a file of its own type."""
    kind: Schema = {} if media_type.startswith("text/") else {"contentMediaType": media_type}
    return {"schema": {"type": "string", **kind}}


def _keep_texts(schema: Schema) -> Schema:
    """What a field's own schema says in words, which holds for every model."""
    return {key: schema[key] for key in ("description", "default") if key in schema}


def _query_parameters(query: type[Query]) -> list[Schema]:
    parameters = []
    for name, field in query.model_json_schema()["properties"].items():
        # A parameter that is not sent is None in the model, and absent in a query.
        schema = next(option for option in field.get("anyOf", [field]) if option.get("type") != "null")
        parameters.append({"name": name, "in": "query", "description": field["description"], "schema": schema})
    return parameters


def _model_paths() -> Schema:
    kind = {"name": "kind", "in": "path", "required": True, "schema": {"enum": list(KINDS)}}
    models, manifest = _refer("Models"), _refer("ServedManifest")
    errors = (NotFoundError, OverloadedError)
    return {
        "/models": describe_reading("models", "list_models", "Every kind: versions, state, metrics", models),
        "/models/{kind}": describe_reading(
            "models", "get_model", "The default version's manifest, and the states of all", manifest, errors, [kind]
        ),
    }


def _operation_paths() -> Schema:
    text = {"text/plain": {"schema": {"type": "string"}}}
    page = {"text/html": {"schema": {"type": "string"}}}
    document = {"application/json": {"schema": {"type": "object"}}}
    return {
        "/livez": describe_reading("operations", "get_liveness", "Whether the process answers", text),
        "/readyz": describe_reading(
            "operations", "get_readiness", "Whether all models are loaded", text, (OverloadedError,)
        ),
        "/metrics": describe_reading("operations", "get_metrics", "Metrics in Prometheus' text format", text),
        "/docs.json": describe_reading("operations", "get_description", "This description", document),
        "/": describe_reading("operations", "get_page", "This description as a page", page),
    }


def describe_reading(
    tag: str,
    operation: str,
    summary: str,
    content: Schema,
    errors: Sequence[type[RequestError]] = (),
    parameters: Sequence[Schema] = (),
) -> Schema:
    """A route that can only be read, as a path of the description."""
    return {
        "get": {
            "tags": [tag],
            "operationId": operation,
            "summary": summary,
            "parameters": [*parameters, REQUEST_ID],
            "responses": describe_responses(content, (*errors, MethodNotAllowedError)),
        }
    }


def describe_responses(
    content: Schema, errors: Sequence[type[RequestError]], further_headers: Mapping[str, Schema] = _NO_HEADERS
) -> Schema:
    """The answers of an operation: one with ``content``, and one for each of ``errors``."""
    headers = {"X-Request-Id": {"schema": {"type": "string"}}}
    problem = {"application/problem+json": {"schema": {"$ref": _COMPONENTS.format(model="Problem")}}}
    responses: Schema = {
        "200": {"description": "The answer.", "headers": {**headers, **further_headers}, "content": content}
    }
    for error in errors:
        responses[str(error.status)] = {
            "description": _first_line(error.__doc__),
            "headers": headers | _ERROR_HEADERS.get(error, {}),
            "content": problem,
        }
    return responses


def add_component(model: type[BaseModel], components: dict[str, Schema], prefix: str = "") -> Schema:
    """Put the schema of ``model`` and all that it refers to into ``components``; returns a reference to it."""
    template = _COMPONENTS.format(model=prefix + "{model}")
    schema = model.model_json_schema(ref_template=template, mode="serialization")
    for name, definition in {**schema.pop("$defs", {}), model.__name__: schema}.items():
        components[prefix + name] = definition
    return {"$ref": _COMPONENTS.format(model=prefix + model.__name__)}


def _refer(component: str) -> Schema:
    return {"application/json": {"schema": {"$ref": _COMPONENTS.format(model=component)}}}


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0].rstrip(".")
