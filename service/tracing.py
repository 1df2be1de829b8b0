"""The service with traces: what stands in the place of its front and its metrics where they are wanted.

Each request is one span of the kind SERVER with the attributes of OpenTelemetry's conventions for HTTP. Below it are
``parse`` (the body becomes rows), ``queue`` and ``inference`` (their wait, and the run that they were in) and
``encode`` (results become the answer). The specification's environment variables say where they go and how many.
"""

import time

from service.exchange import Receive, Scope, Send
from service.front import Front
from service.metrics import Metrics
from service.spans import Spans
from service.trace import CURRENT, Stage, Trace


class TracedFront(Front):
    """As the front, with a trace of each request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the ASGI protocol."""
        if scope["type"] == "http":
            CURRENT.set(Trace(scope))
        await super().__call__(scope, receive, send)

    def _choose_id(self, sent_id: bytes | None) -> str:
        request_id = super()._choose_id(sent_id)
        trace = CURRENT.get()
        if trace is not None:
            trace.request_id = request_id
        return request_id


class TracedMetrics(Metrics):
    """As the metrics, which hear of every stage of every request and of its end.

    Args:
        spans: where traces go.
    """

    def __init__(self, spans: Spans) -> None:
        super().__init__()
        self._spans = spans

    def preprocess(self, kind: str, version: str, seconds: float) -> None:
        """A request was turned into rows."""
        super().preprocess(kind, version, seconds)
        _note_stage("parse", kind, version, seconds)

    def postprocess(self, kind: str, version: str, seconds: float) -> None:
        """Results were turned into an answer."""
        super().postprocess(kind, version, seconds)
        _note_stage("encode", kind, version, seconds)

    def request(self, kind: str, version: str, outcome: str, seconds: float = 0.0) -> None:
        """A prediction request was answered."""
        super().request(kind, version, outcome, seconds)
        trace = CURRENT.get()
        if trace is not None:
            trace.model = kind, version

    def http(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request of any route was answered, ``seconds`` after it came."""
        super().http(route, method, status, seconds)
        trace = CURRENT.get()
        if trace is not None:
            self._spans.write(trace, route, method, status)


def _note_stage(name: str, kind: str, version: str, seconds: float) -> None:
    trace = CURRENT.get()
    if trace is not None:
        now = time.perf_counter()
        trace.model = kind, version
        trace.add(Stage(name, now - seconds, now))
