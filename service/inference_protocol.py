"""The Open Inference Protocol (V2), which the clients of Triton, KServe and others speak: the graphs themselves.

Where ``/classify`` takes a picture, these routes take the tensors that the graph reads, and answer those that it
gives. Rows from here and from the kinds' own routes are batched together. Of the protocol's extensions there are the
binary tensor data, the classification and the model repository, whose loading and unloading is in
:mod:`service.administration`.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import orjson
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from pydantic import BaseModel, Field, StrictBool

from models.manifest import TensorSpec
from service import VERSION
from service.audit import Audit
from service.bodies import Body, declare_size, media_type, read_content, read_json
from service.catalogue import Catalogue
from service.config import Settings
from service.errors import (
    BadBodyError,
    DeadlineError,
    InternalError,
    NotFoundError,
    OverloadedError,
    RequestError,
    UnprocessableError,
    UnsupportedMediaTypeError,
)
from service.exchange import JSON, Answer, Exchange
from service.inference import Inference, InferenceAnswer, InferenceFormat
from service.intake import Intake
from service.kinds import KINDS
from service.metrics import SUCCESS, Metrics
from service.routes import READING, Route, reading
from service.runtime import Model
from service.session import Row
from service.tensors import DATATYPES

PLATFORM: Final = "onnxruntime_onnx"
EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_repository", "model_repository(unload_dependents)")
MEDIA_TYPES: Final = ("application/json", "application/octet-stream")
BINARY: Final = b"application/octet-stream"

_INFER: Final = "/v2/models/{model}/infer"
_HEADER_LENGTH: Final = b"inference-header-content-length"
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
# Reading or writing this much takes a millisecond where it is JSON; what is larger is done off the event loop.
_QUICK_BODY_BYTES: Final = 65_536
_QUICK_ELEMENTS: Final = 16_384
_MAX_INDEX_BYTES: Final = 1024


class IndexRequest(BaseModel):
    """Which models the index is to list."""

    ready: StrictBool = Field(default=False, description="Only those that can be asked now.")


class InferenceProtocol:
    """Answers for the routes below ``/v2``. Each public method is one route."""

    def __init__(
        self, catalogue: Catalogue, settings: Settings, metrics: Metrics, intake: Intake, audit: Audit | None
    ) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._metrics = metrics
        self._intake = intake
        self._audit = audit
        # A version that is no longer served takes its format with it.
        self._formats: WeakKeyDictionary[Model, InferenceFormat] = WeakKeyDictionary()

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
        return _answer({"name": "modelyard", "version": VERSION, "extensions": EXTENSIONS})

    async def get_liveness(self, _: Exchange) -> Answer:
        """200 as long as the process answers at all."""
        return _answer({"live": True})

    async def get_readiness(self, _: Exchange) -> Answer:
        """200 once every model is loaded and warm."""
        if not self._catalogue.ready:
            raise OverloadedError("the models are being loaded", retry_after_seconds=1)
        return _answer({"ready": True})

    async def get_model(self, exchange: Exchange) -> Answer:
        """What a model takes and gives."""
        kind, version = _read_names(exchange)
        catalogue = self._catalogue
        manifest = (catalogue.find_default(kind) if version is None else catalogue.find(kind, version)).manifest
        return _answer(
            {
                "name": manifest.kind,
                "versions": list(map(str, catalogue.list_loaded(kind))),
                "platform": PLATFORM,
                "inputs": [_describe(spec) for spec in manifest.inputs],
                "outputs": [_describe(spec) for spec in manifest.outputs],
            }
        )

    async def get_model_readiness(self, exchange: Exchange) -> Answer:
        """200 where a model can be asked."""
        return _answer({"name": self._find(exchange).manifest.kind, "ready": True})

    async def list_models(self, exchange: Exchange) -> Answer:
        """Every version of every model that is on disk, and whether it can be asked."""
        size = declare_size(exchange.headers.get(b"content-length"), _MAX_INDEX_BYTES)
        content = await read_content(exchange.receive, size)
        request = read_json(IndexRequest, content) if content else IndexRequest()
        entries = [entry for kind in KINDS for entry in self._index(kind)]
        return _answer([entry for entry in entries if entry["state"] == "READY" or not request.ready])

    async def infer(self, exchange: Exchange) -> Answer:
        """Run a model's graph on the tensors of a request."""
        headers = exchange.headers
        kind = media_type(headers.get(b"content-type", b""))
        if kind not in MEDIA_TYPES:
            raise UnsupportedMediaTypeError(f"the body is '{kind[:100]}', expected one of {', '.join(MEDIA_TYPES)}")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise UnsupportedMediaTypeError("the body has a Content-Encoding, expected none")
        if exchange.scope["query_string"]:
            raise UnprocessableError([("query", "expected none: the version stands in the path")])
        header_bytes = _read_header_length(headers.get(_HEADER_LENGTH))
        model = self._find(exchange)
        size = declare_size(headers.get(b"content-length"), self._settings.max_body_bytes)
        self._intake.take(size)
        try:
            content = await read_content(exchange.receive, size)
            exchange.body_complete = True
            return await self._count(model, content, header_bytes, exchange)
        finally:
            self._intake.give_back(size)

    async def _count(self, model: Model, content: bytes, header_bytes: int | None, exchange: Exchange) -> Answer:
        """Answer an inference, and count how it went."""
        kind, version = model.manifest.kind, str(model.manifest.version)
        try:
            answer = await self._infer(model, content, header_bytes, exchange)
        except RequestError as error:
            self._metrics.request(kind, version, str(error.status))
            raise
        except asyncio.CancelledError:
            self._metrics.request(kind, version, "504" if exchange.ended_by == "deadline" else "499")
            raise
        except Exception:
            self._metrics.request(kind, version, str(InternalError.status))
            raise
        self._metrics.request(kind, version, SUCCESS, time.perf_counter() - exchange.began)
        if answer.header_bytes is None:
            return Answer(200, JSON, answer.content)
        return Answer(200, BINARY, answer.content, [(_HEADER_LENGTH, b"%d" % answer.header_bytes)])

    async def _infer(
        self, model: Model, content: bytes, header_bytes: int | None, exchange: Exchange
    ) -> InferenceAnswer:
        model.batcher.check(exchange.deadline)
        graph = self._formats.get(model) or self._add_format(model)
        inference = await self._read(graph, content, header_bytes, exchange.deadline)
        deadline = exchange.deadline
        if inference.timeout_seconds:
            deadline = min(deadline, exchange.began + inference.timeout_seconds)
            if time.perf_counter() > deadline:
                raise DeadlineError("the timeout passed before the request was read")
        try:
            results = await model.batcher.submit(inference.rows, deadline)
        except InvalidArgument as error:
            # A number that is out of a node's bounds, such as an index. The batcher has found whose row it was.
            raise UnprocessableError([("inputs", "values that are out of the graph's bounds")]) from error
        if model.drift is not None:
            model.drift.observe(inference.rows, results)
        comparison = self._catalogue.find_comparison(model)
        if comparison is not None:
            comparison.offer_rows(inference.rows, results)
        answer = await self._write(graph, inference, results)
        if self._audit is not None:
            media_type = "application/json" if header_bytes is None else "application/octet-stream"
            self._audit.offer(exchange, _INFER, model.manifest, Body(media_type, b"", content), results=results)
        return answer

    async def _read(
        self, graph: InferenceFormat, content: bytes, header_bytes: int | None, deadline: float
    ) -> Inference:
        """What a body asks for, on the event loop where it is found out soon."""

        def read() -> Inference:
            began = time.perf_counter()
            if began > deadline:
                raise DeadlineError("the deadline passed while the request waited to be read")
            inference = graph.read(content, header_bytes)
            self._metrics.preprocess(graph.kind, graph.version, time.perf_counter() - began)
            return inference

        return read() if len(content) <= _QUICK_BODY_BYTES else await asyncio.to_thread(read)

    async def _write(self, graph: InferenceFormat, inference: Inference, results: Sequence[Row]) -> InferenceAnswer:
        """The answer's bytes, on the event loop where they are made soon."""

        def write() -> InferenceAnswer:
            began = time.perf_counter()
            answer = graph.write(inference, results)
            self._metrics.postprocess(graph.kind, graph.version, time.perf_counter() - began)
            return answer

        elements = len(results) * sum(map(np.size, results[0]))
        return write() if elements <= _QUICK_ELEMENTS else await asyncio.to_thread(write)

    def _add_format(self, model: Model) -> InferenceFormat:
        self._formats[model] = InferenceFormat(model.manifest, self._settings.max_items)
        return self._formats[model]

    def _find(self, exchange: Exchange) -> Model:
        """The model that the path names."""
        return self._catalogue.find(*_read_names(exchange))

    def _index(self, kind: str) -> list[dict[str, str]]:
        entries = []
        for entry in self._catalogue.list_entries(kind):
            state = {"loading": "LOADING"}.get(entry.state, "UNAVAILABLE") if entry.model is None else "READY"
            reason = entry.reason or ("not loaded" if state == "UNAVAILABLE" else "")
            entries.append({"name": kind, "version": str(entry.version), "state": state, "reason": reason})
        return entries


def _read_names(exchange: Exchange) -> tuple[str, int | None]:
    """The kind and the version that the path names."""
    names = exchange.scope["path_params"]
    kind, version = names["model"], names.get("version")
    if kind not in KINDS:
        raise NotFoundError("no such model: /v2/repository/index lists those that there are")
    if version is not None and not _VERSION.fullmatch(version):
        raise NotFoundError(f"no such version of {kind}: they are numbered from 1 up")
    return kind, None if version is None else int(version)


def is_protocol(path: str) -> bool:
    """Whether a path is one of the protocol's, be there such a route or not."""
    return path == "/v2" or path.startswith("/v2/")


def _answer(document: object) -> Answer:
    return Answer(200, JSON, orjson.dumps(document))


def _describe(spec: TensorSpec) -> dict[str, object]:
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": shape}


def _read_header_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise BadBodyError("Inference-Header-Content-Length, expected the number of bytes of the body's JSON")
    return int(value)
