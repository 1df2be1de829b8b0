"""The graphs themselves, as the Open Inference Protocol (V2) asks for them, be it by HTTP or by gRPC."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from models.manifest import TensorSpec
from service import VERSION
from service.audit import Audit
from service.bodies import QUICK_BODY_BYTES, Body
from service.catalogue import Catalogue
from service.config import Settings
from service.errors import DeadlineError, InternalError, NotFoundError, RequestError, UnprocessableError
from service.exchange import Answer, Exchange
from service.inference import Inference, InferenceFormat
from service.intake import Intake
from service.kinds import KINDS
from service.metrics import SUCCESS, Metrics
from service.runtime import Model
from service.session import Row
from service.tensors import DATATYPES

PLATFORM: Final = "onnxruntime_onnx"
EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_repository", "model_repository(unload_dependents)")
# Writing this much takes a millisecond where it is JSON; what is larger is done off the event loop.
_QUICK_ELEMENTS: Final = 16_384
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")


class Encoding(Protocol):
    """How the tensors of one request, and of its answer, are written."""

    media_type: str

    def read(self, graph: InferenceFormat) -> Inference:
        """The rows that the request brings.

        Raises:
            RequestError: it does not fit the graph.
        """

    def write(self, graph: InferenceFormat, inference: Inference, results: Sequence[Row]) -> Answer:
        """The answer: the graph's outputs for each row."""


class Graphs:
    """Says what the graphs are, and runs them.

    Args:
        catalogue: the versions that are loaded.
        settings: the limits of requests.
        metrics: hear how requests went.
        intake: the room for bodies.
        audit: the log of predictions, if there is one.
    """

    def __init__(
        self, catalogue: Catalogue, settings: Settings, metrics: Metrics, intake: Intake, audit: Audit | None
    ) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._metrics = metrics
        self._audit = audit
        self.intake = intake
        # A version that is no longer served takes its format with it.
        self._formats: WeakKeyDictionary[Model, InferenceFormat] = WeakKeyDictionary()

    @property
    def ready(self) -> bool:
        """Whether every model is loaded and warm."""
        return self._catalogue.ready

    def describe_server(self) -> dict[str, Any]:
        """What the server is, and which extensions it has."""
        return {"name": "modelyard", "version": VERSION, "extensions": EXTENSIONS}

    def describe(self, name: str, version: str | None) -> dict[str, Any]:
        """What a model takes and gives.

        Raises:
            RequestError: there is no such model, or none yet.
        """
        kind, number = _read_names(name, version)
        catalogue = self._catalogue
        manifest = (catalogue.find_default(kind) if number is None else catalogue.find(kind, number)).manifest
        return {
            "name": manifest.kind,
            "versions": list(map(str, catalogue.list_loaded(kind))),
            "platform": PLATFORM,
            "inputs": [_describe(spec) for spec in manifest.inputs],
            "outputs": [_describe(spec) for spec in manifest.outputs],
        }

    def list_versions(self, *, ready: bool) -> list[dict[str, str]]:
        """Every version of every model that is on disk, or those alone that can be asked."""
        entries = [entry for kind in KINDS for entry in self._list(kind)]
        return [entry for entry in entries if entry["state"] == "READY" or not ready]

    def find(self, name: str, version: str | None) -> Model:
        """The model that is to answer.

        Raises:
            RequestError: there is no such model, or none yet.
        """
        return self._catalogue.find(*_read_names(name, version))

    async def infer(self, model: Model, content: bytes, encoding: Encoding, exchange: Exchange, route: str) -> Answer:
        """Run a graph on the tensors of a request, and count how it went.

        Args:
            model: the graph's.
            content: the request's body, for the log of predictions.
            encoding: reads it.
            exchange: the request.
            route: what the log of predictions calls the way by which it came.

        Raises:
            RequestError: there is no answer, and why.
        """
        kind, version = model.manifest.kind, str(model.manifest.version)
        try:
            answer = await self._infer(model, content, encoding, exchange, route)
        except RequestError as error:
            self._metrics.request(kind, version, str(error.status))
            raise
        except asyncio.CancelledError:
            self._metrics.request(kind, version, "504" if exchange.is_late else "499")
            raise
        except Exception:
            self._metrics.request(kind, version, str(InternalError.status))
            raise
        self._metrics.request(kind, version, SUCCESS, time.perf_counter() - exchange.began)
        return answer

    async def _infer(self, model: Model, content: bytes, encoding: Encoding, exchange: Exchange, route: str) -> Answer:
        model.batcher.check(exchange.deadline)
        graph = self._formats.get(model) or self._add_format(model)
        inference = await self._read(graph, encoding, len(content), exchange.deadline)
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
        answer = await self._write(graph, encoding, inference, results)
        if self._audit is not None:
            body = Body(encoding.media_type, b"", content)
            self._audit.offer(exchange, route, model.manifest, body, results=results)
        return answer

    async def _read(self, graph: InferenceFormat, encoding: Encoding, size: int, deadline: float) -> Inference:
        """What a request asks for, on the event loop where it is found out soon."""

        def read() -> Inference:
            began = time.perf_counter()
            if began > deadline:
                raise DeadlineError("the deadline passed while the request waited to be read")
            inference = encoding.read(graph)
            self._metrics.preprocess(graph.kind, graph.version, time.perf_counter() - began)
            return inference

        return read() if size <= QUICK_BODY_BYTES else await asyncio.to_thread(read)

    async def _write(
        self, graph: InferenceFormat, encoding: Encoding, inference: Inference, results: Sequence[Row]
    ) -> Answer:
        """The answer, on the event loop where it is made soon."""

        def write() -> Answer:
            began = time.perf_counter()
            answer = encoding.write(graph, inference, results)
            self._metrics.postprocess(graph.kind, graph.version, time.perf_counter() - began)
            return answer

        elements = len(results) * sum(map(np.size, results[0]))
        return write() if elements <= _QUICK_ELEMENTS else await asyncio.to_thread(write)

    def _add_format(self, model: Model) -> InferenceFormat:
        self._formats[model] = InferenceFormat(model.manifest, self._settings.max_items)
        return self._formats[model]

    def _list(self, kind: str) -> list[dict[str, str]]:
        entries = []
        for entry in self._catalogue.list_entries(kind):
            state = {"loading": "LOADING"}.get(entry.state, "UNAVAILABLE") if entry.model is None else "READY"
            reason = entry.reason or ("not loaded" if state == "UNAVAILABLE" else "")
            entries.append({"name": kind, "version": str(entry.version), "state": state, "reason": reason})
        return entries


def _read_names(name: str, version: str | None) -> tuple[str, int | None]:
    """The kind and the version that a request names."""
    if name not in KINDS:
        raise NotFoundError("no such model: /v2/repository/index lists those that there are")
    if version is not None and not _VERSION.fullmatch(version):
        raise NotFoundError(f"no such version of {name}: they are numbered from 1 up")
    return name, None if version is None else int(version)


def _describe(spec: TensorSpec) -> dict[str, object]:
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": shape}
