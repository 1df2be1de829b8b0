"""The routes that say how the service is: its models, its health, its metrics and its description."""

from importlib.resources import files
from typing import Any, Final

import orjson

from models.manifest import Manifest
from service.access_schema import add_access
from service.administration import describe_plan
from service.administration_schema import add_administration
from service.catalogue import Catalogue
from service.errors import OverloadedError
from service.exchange import JSON, Answer, Exchange
from service.inference_schema import add_protocol
from service.kinds import KINDS
from service.metrics import Metrics
from service.schema import describe_service

_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"

_PAGE: Final = (files("service") / "page.html").read_bytes()


class Operations:
    """Answers for everything but predictions. Each method is one route."""

    def __init__(self, catalogue: Catalogue, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._metrics = metrics

    async def get_liveness(self, _: Exchange) -> Answer:
        """200 as long as the process answers at all."""
        return Answer(200, _TEXT, b"live\n")

    async def get_readiness(self, _: Exchange) -> Answer:
        """200 once every model is loaded and warm."""
        if not self._catalogue.ready:
            raise OverloadedError("the models are being loaded", retry_after_seconds=1)
        return Answer(200, _TEXT, b"ready\n")

    async def get_metrics(self, _: Exchange) -> Answer:
        """The metrics in Prometheus' text format."""
        for model in self._catalogue:
            manifest = model.manifest
            self._metrics.pending(manifest.kind, str(manifest.version), model.batcher.pending_rows)
        watches = {(model.manifest.kind, str(model.manifest.version)): model.drift for model in self._catalogue}
        self._metrics.drift({key: watch.measure() for key, watch in watches.items() if watch is not None})
        return Answer(200, _PROMETHEUS, self._metrics.render())

    async def get_description(self, _: Exchange) -> Answer:
        """The OpenAPI description, with the labels of the models that are loaded."""
        return Answer(200, JSON, orjson.dumps(self._describe_service()))

    async def get_page(self, _: Exchange) -> Answer:
        """The description as a page to try it on, made by the Swagger UI that BentoML brings.

        BentoML's own page tells a third party of each visit.
        """
        return Answer(200, _HTML, _PAGE)

    async def get_models(self, _: Exchange) -> Answer:
        """Every kind: its versions, which is the default, their state, task and metrics."""
        return Answer(200, JSON, orjson.dumps({"models": [self._describe(kind) for kind in KINDS]}))

    async def get_model(self, exchange: Exchange) -> Answer:
        """The manifest of the default version of a kind, and the state of its versions."""
        kind = exchange.scope["path"].rpartition("/")[2]
        manifest = self._catalogue.find_default(kind).manifest
        versions = describe_plan(self._catalogue, kind)["versions"]
        return Answer(200, JSON, orjson.dumps({**manifest.model_dump(mode="json"), "versions": versions}))

    def _describe_service(self) -> dict[str, Any]:
        return add_access(add_administration(add_protocol(describe_service(self._catalogue.list_defaults()))))

    def _describe(self, kind: str) -> dict[str, object]:
        versions: list[dict[str, object]] = []
        for version, state, reason, model in self._catalogue.list_entries(kind):
            entry: dict[str, object] = {"version": str(version), "state": state, "reason": reason}
            if model is not None:
                entry |= {"provider": model.provider, **_summarise(model.manifest)}
            versions.append(entry)
        return {**describe_plan(self._catalogue, kind), "route": KINDS[kind].ROUTE, "versions": versions}


def _summarise(manifest: Manifest) -> dict[str, object]:
    return manifest.model_dump(
        mode="json", include={"created", "task", "description", "architecture", "parameters", "metrics"}
    )
