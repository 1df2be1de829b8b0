"""What is noted of a request on its way, where traces are wanted.

Nothing of this stands on the way of a request where they are not: the parts that note have others in their place.
"""

import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Final, NamedTuple

from service.config import SettingsError
from service.exchange import Scope

# The specification's variables that say where traces go.
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# Those of one request are as many as it has parts, and the longest answers have some thousand of them.
MAX_STAGES: Final = 64


class Stage(NamedTuple):
    """A part of the work on a request. Times are those of ``time.perf_counter``."""

    name: str
    began: float
    ended: float
    rows: int | None = None  # of the whole batch, where it is a run


class Trace:
    """One request: what its client sent of the trace that it is a part of, and its stages so far."""

    __slots__ = ("began", "headers", "model", "request_id", "scope", "stages")

    def __init__(self, scope: Scope) -> None:
        self.began = time.perf_counter()
        self.scope = scope
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.request_id = ""
        self.model: tuple[str, str] | None = None  # kind and version
        self.stages: list[Stage] = []

    def add(self, stage: Stage) -> None:
        """Note a stage, if there are not too many."""
        if len(self.stages) < MAX_STAGES:
            self.stages.append(stage)


# The request that the running task answers.
CURRENT: Final[ContextVar[Trace | None]] = ContextVar("trace", default=None)


def wants_traces() -> bool:
    """Whether the environment says that there are to be traces, and where they go."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip() not in ("", "otlp"):
        return False
    return any(os.environ.get(name, "").strip() for name in ENDPOINTS)


def check_traces() -> None:
    """Find out whether traces can be sent, where they are wanted.

    Raises:
        SettingsError: what sends them is not installed, or they are to go by another protocol than HTTP.
    """
    if not wants_traces():
        return
    for name in PROTOCOLS:
        protocol = os.environ.get(name, "").strip()
        if protocol not in ("", "http/protobuf"):
            raise SettingsError(f"{name}='{protocol}': expected http/protobuf")
    if not _has_exporter():
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT: traces need the extra: pip install 'modelyard[traces]'")


def _has_exporter() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
