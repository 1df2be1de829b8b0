"""The Open Inference Protocol (V2), which the clients of Triton, KServe and others speak: the graphs themselves.

Where ``/classify`` takes a picture, these routes take the tensors that the graph reads, and answer those that it
gives. Rows from here and from the kinds' own routes are batched together. Of the protocol's extensions there are the
binary tensor data, the classification and the model repository, whose loading and unloading is in
:mod:`service.administration`.
"""

import re
from collections.abc import Sequence
from typing import Final

import orjson
from pydantic import BaseModel, Field, StrictBool

from service.audit import Audit
from service.bodies import check_form, declare_size, read_content, read_json
from service.catalogue import Catalogue
from service.config import Settings
from service.errors import BadBodyError, OverloadedError, UnprocessableError
from service.exchange import JSON, Answer, Exchange
from service.graphs import Graphs
from service.inference import Inference, InferenceFormat
from service.intake import Intake
from service.metrics import Metrics
from service.routes import READING, Route, reading
from service.session import Row

MEDIA_TYPES: Final = ("application/json", "application/octet-stream")
BINARY: Final = b"application/octet-stream"

_INFER: Final = "/v2/models/{model}/infer"
_HEADER_LENGTH: Final = b"inference-header-content-length"
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")
_MAX_INDEX_BYTES: Final = 1024


class IndexRequest(BaseModel):
    """Which models the index is to list."""

    ready: StrictBool = Field(default=False, description="Only those that can be asked now.")


class InferenceProtocol:
    """Answers for the routes below ``/v2``. Each public method is one route."""

    def __init__(
        self, catalogue: Catalogue, settings: Settings, metrics: Metrics, intake: Intake, audit: Audit | None
    ) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._graphs = Graphs(catalogue, settings, metrics, intake, audit)

    def list_routes(self) -> dict[str, Route]:
        """The protocol's part of the table of routes."""
        routes = {}
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes[f"{model}/infer"] = Route(f"{model}/infer", {"POST": self.infer})
            routes[f"{model}/ready"] = reading(f"{model}/ready", self.get_model_readiness)
            routes[model] = reading(model, self.get_model)
        return routes | {
            "/v2": reading("/v2", self.get_server),
            "/v2/health/live": reading("/v2/health/live", self.get_liveness),
            "/v2/health/ready": reading("/v2/health/ready", self.get_readiness),
            "/v2/repository/index": Route("/v2/repository/index", dict.fromkeys((*READING, "POST"), self.list_models)),
        }

    async def get_server(self, _: Exchange) -> Answer:
        """What the server is, and which extensions it has."""
        return _answer(self._graphs.describe_server())

    async def get_liveness(self, _: Exchange) -> Answer:
        """200 as long as the process answers at all."""
        return _answer({"live": True})

    async def get_readiness(self, _: Exchange) -> Answer:
        """200 once every model is loaded and warm."""
        if not self._graphs.ready:
            raise OverloadedError("the models are being loaded", retry_after_seconds=1)
        return _answer({"ready": True})

    async def get_model(self, exchange: Exchange) -> Answer:
        """What a model takes and gives."""
        return _answer(self._graphs.describe(*_read_names(exchange)))

    async def get_model_readiness(self, exchange: Exchange) -> Answer:
        """200 where a model can be asked."""
        return _answer({"name": self._graphs.find(*_read_names(exchange)).manifest.kind, "ready": True})

    async def list_models(self, exchange: Exchange) -> Answer:
        """Every version of every model that is on disk, and whether it can be asked."""
        size = declare_size(exchange.headers.get(b"content-length"), _MAX_INDEX_BYTES)
        content = await read_content(exchange, size)
        request = read_json(IndexRequest, content) if content else IndexRequest()
        return _answer(self._graphs.list_versions(ready=request.ready))

    async def infer(self, exchange: Exchange) -> Answer:
        """Run a model's graph on the tensors of a request."""
        headers = exchange.headers
        check_form(headers, MEDIA_TYPES)
        if exchange.scope["query_string"]:
            raise UnprocessableError([("query", "expected none: the version stands in the path")])
        header_bytes = _read_header_length(headers.get(_HEADER_LENGTH))
        model = self._graphs.find(*_read_names(exchange))
        size = declare_size(headers.get(b"content-length"), self._max_body_bytes)
        self._graphs.intake.take(size)
        try:
            content = await read_content(exchange, size)
            exchange.body_complete = True
            return await self._graphs.infer(model, content, _Encoding(content, header_bytes), exchange, _INFER)
        finally:
            self._graphs.intake.give_back(size)


class _Encoding:
    """JSON, and behind it the tensors that are binary."""

    def __init__(self, content: bytes, header_bytes: int | None) -> None:
        self.media_type = MEDIA_TYPES[header_bytes is not None]
        self._content = content
        self._header_bytes = header_bytes

    def read(self, graph: InferenceFormat) -> Inference:
        return graph.read(self._content, self._header_bytes)

    def write(self, graph: InferenceFormat, inference: Inference, results: Sequence[Row]) -> Answer:
        content, header_bytes = graph.write(inference, results)
        if header_bytes is None:
            return Answer(200, JSON, content)
        return Answer(200, BINARY, content, [(_HEADER_LENGTH, b"%d" % header_bytes)])


def _read_names(exchange: Exchange) -> tuple[str, str | None]:
    """The model and the version that the path names."""
    names = exchange.scope["path_params"]
    return names["model"], names.get("version")


def is_protocol(path: str) -> bool:
    """Whether a path is one of the protocol's, be there such a route or not."""
    return path == "/v2" or path.startswith("/v2/")


def _answer(document: object) -> Answer:
    return Answer(200, JSON, orjson.dumps(document))


def _read_header_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise BadBodyError("Inference-Header-Content-Length, expected the number of bytes of the body's JSON")
    return int(value)
