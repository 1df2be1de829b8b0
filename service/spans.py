"""Traces as OpenTelemetry's spans, sent by its SDK: over HTTP, in batches, by a thread; more than it can send is lost.

The SDK reads the variables of the specification: ``OTEL_EXPORTER_OTLP_…``, ``OTEL_SERVICE_NAME``,
``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER``, ``OTEL_PROPAGATORS``, ``OTEL_BSP_…``. This module is imported
where traces are wanted, and nowhere else.

Source of the attributes: Semantic Conventions for HTTP Spans, stable.
"""

import os
import time
from collections.abc import Mapping
from threading import Thread
from typing import Final

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from service import VERSION
from service.trace import Trace

# Names in the metrics that are no routes.
_NO_ROUTES: Final = ("unknown", "behind")
_SERVER_ERROR: Final = 500
# A collector that cannot be reached must not keep the service from its end for longer.
_CLOSE_SECONDS: Final = 3.0


class Spans:
    """Writes each request that is to be sampled as a span with its stages below it."""

    def __init__(self) -> None:
        own = Resource({"service.name": "modelyard", "service.version": VERSION, "process.pid": os.getpid()})
        resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("modelyard", VERSION)

    def write(self, trace: Trace, route: str, method: str, status: int) -> None:
        """A request that was answered just now.

        Args:
            trace: what was noted of it.
            route: its route's name in the metrics.
            method: one that HTTP knows, or ``"other"``.
            status: of its answer.
        """
        now = time.perf_counter()
        started = time.time_ns() - _nanoseconds(now)  # of perf_counter, in the time of the clock

        known_route = None if route in _NO_ROUTES else route
        name = "HTTP" if method == "other" else method
        span = self._tracer.start_span(
            name if known_route is None else f"{name} {known_route}",
            propagate.extract(trace.headers, getter=_HEADERS),
            SpanKind.SERVER,
            _describe(trace, known_route, method, status),
            start_time=started + _nanoseconds(trace.began),
        )
        if span.is_recording():
            context = set_span_in_context(span)
            for stage in trace.stages:
                rows = {} if stage.rows is None else {"modelyard.batch.rows": stage.rows}
                part = self._tracer.start_span(
                    stage.name, context, attributes=rows, start_time=started + _nanoseconds(stage.began)
                )
                part.end(started + _nanoseconds(stage.ended))
            if status >= _SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
        span.end(started + _nanoseconds(now))

    def close(self) -> None:
        """Send what waits, if that is done soon."""
        closing = Thread(target=self._provider.shutdown, name="close-spans", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


class _Headers(Getter[Mapping[bytes, bytes]]):
    """Reads the headers of an ASGI scope."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        """What a header says."""
        value = carrier.get(key.lower().encode("latin-1"))
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        """The names of the headers."""
        return [name.decode("latin-1") for name in carrier]


_HEADERS: Final = _Headers()


def _describe(trace: Trace, route: str | None, method: str, status: int) -> dict[str, AttributeValue]:
    scope = trace.scope
    attributes: dict[str, AttributeValue] = {
        "http.request.method": "_OTHER" if method == "other" else method,
        "http.response.status_code": status,
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "modelyard.request.id": trace.request_id,
    }
    if route is not None:
        attributes["http.route"] = route
    if scope.get("server"):
        attributes |= {"server.address": scope["server"][0], "server.port": scope["server"][1]}
    if scope.get("client"):
        attributes["client.address"] = scope["client"][0]
    if trace.model is not None:
        attributes |= {"modelyard.model.kind": trace.model[0], "modelyard.model.version": trace.model[1]}
    if status >= _SERVER_ERROR:
        attributes["error.type"] = str(status)
    return attributes


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
