"""The service: ``bentoml serve service.app:ModelService``.

Requests come in through :class:`service.front.Front`, which answers the service's routes itself. The endpoints stand
here as BentoML methods too, for what BentoML makes of them: its client, its schema, its builds. Both ways lead to
:meth:`service.runtime.Model.predict`.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from typing import Any

import bentoml
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from models.errors import ModelError
from service import logs, protocol, server, supervisor
from service.audit import open_audit
from service.bodies import Body
from service.catalogue import Catalogue, NoModelError
from service.config import SettingsError, load_settings
from service.errors import RequestError
from service.exchange import JSON, PROBLEM, Application
from service.front import Front
from service.kinds import KINDS, churn, image_classifier, image_generator, profile_generator, sentiment
from service.metrics import Metrics
from service.preflight import run_preflight
from service.providers import ProviderError
from service.queries import read_query
from service.seeds import Interpolation
from service.siblings import has_siblings
from service.state import StateError
from service.trace import wants_traces
from service.watcher import watch

logger = logging.getLogger(__name__)


class FrontedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML's SDK ships no types
    """A BentoML service with :class:`Front` before its own application."""

    def to_asgi(self, is_main: bool = True) -> Application:
        """The application that BentoML's workers run."""
        protocol.install()
        server.install()
        application = super().to_asgi(is_main=is_main)
        if not wants_traces():
            return Front(application)
        from service.tracing import TracedFront  # with OpenTelemetry's SDK, for who wants it

        return TracedFront(application)


# BentoML's own metrics, log and traces would tell of the documentation page alone: Front has those of the service.
@bentoml.service(
    name="modelyard",
    service_class=FrontedService,
    http={"host": "127.0.0.1"},  # to be reached from elsewhere it has to be told so
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class ModelService:
    """Every kind of model, one endpoint each."""

    def __init__(self) -> None:
        self.settings = load_settings()
        logs.configure(self.settings.log_format, self.settings.log_level)
        self.metrics, self.close_metrics = _open_metrics()
        self.audit = open_audit(self.settings, self.metrics)
        self.catalogue = Catalogue(self.settings, self.metrics)
        self._loaded = asyncio.Event()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Before any worker starts: find out whether one can."""
        run_preflight()
        supervisor.install(load_settings())

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Load the models, then watch them.

        A process alone answers meanwhile that it lives and is not ready. One of several listens only afterwards: what
        comes before is for those that can answer it.
        """
        self._loading = asyncio.create_task(self._load())
        if has_siblings():
            await self._loaded.wait()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Let go of what the models hold."""
        self._loading.cancel()
        self.catalogue.close()
        if self.audit is not None:
            self.audit.close()
        self.close_metrics()
        logs.flush()

    @bentoml.api(  # type: ignore[untyped-decorator]
        route=image_classifier.ROUTE, input_spec=image_classifier.Request, output_spec=image_classifier.Response
    )
    async def classify(self, images: tuple[bytes, ...], *, ctx: bentoml.Context) -> Response:
        """Say what is in each image."""
        request = image_classifier.Request.model_construct(images=images)
        return await self._predict("image_classifier", request, ctx)

    @bentoml.api(route=churn.ROUTE, input_spec=churn.Request, output_spec=churn.Response)  # type: ignore[untyped-decorator]
    async def predict_churn(
        self, customers: tuple[dict[str, Any], ...], explain: bool = False, *, ctx: bentoml.Context
    ) -> Response:
        """Say how likely each customer is to leave, and why."""
        request = churn.Request.model_construct(customers=customers, explain=explain)
        return await self._predict("churn", request, ctx)

    @bentoml.api(  # type: ignore[untyped-decorator]
        route=profile_generator.ROUTE, input_spec=profile_generator.Request, output_spec=profile_generator.Response
    )
    async def generate_profiles(
        self,
        count: int | None = None,
        churn: bool | str | int | None = None,
        seed: int | None = None,
        interpolate: Interpolation | None = None,
        *,
        ctx: bentoml.Context,
    ) -> Response:
        """Make up customers."""
        request = profile_generator.Request.model_construct(
            count=count, churn=churn, seed=seed, interpolate=interpolate
        )
        return await self._predict("profile_generator", request, ctx)

    @bentoml.api(  # type: ignore[untyped-decorator]
        route=image_generator.ROUTE, input_spec=image_generator.Request, output_spec=image_generator.Response
    )
    async def generate_image(
        self,
        count: int | None = None,
        label: str | None = None,
        seed: int | None = None,
        truncation: float = 1.0,
        interpolate: Interpolation | None = None,
        *,
        ctx: bentoml.Context,
    ) -> Response:
        """Make up images."""
        request = image_generator.Request.model_construct(
            count=count, label=label, seed=seed, truncation=truncation, interpolate=interpolate
        )
        return await self._predict("image_generator", request, ctx)

    @bentoml.api(  # type: ignore[untyped-decorator]
        route=sentiment.ROUTE, input_spec=sentiment.Request, output_spec=sentiment.Response
    )
    async def analyze_sentiment(
        self, texts: tuple[str, ...], explain: bool = False, *, ctx: bentoml.Context
    ) -> Response:
        """Say what is thought in each text, and why."""
        request = sentiment.Request.model_construct(texts=texts, explain=explain)
        return await self._predict("sentiment", request, ctx)

    async def _predict(self, kind: str, request: BaseModel, ctx: bentoml.Context) -> Response:
        """What Front does for a JSON body, for BentoML's own application."""
        deadline = time.perf_counter() + self.settings.deadline_seconds
        body = Body("application/json", JSON, request.model_dump_json().encode())
        try:
            query = read_query(KINDS[kind].Query, ctx.request.url.query.encode())
            accept = ctx.request.headers.get("accept", "").encode("latin-1")
            answer = await self.catalogue.find(kind, query.version).answer(body, query, accept, deadline)
        except RequestError as error:
            ctx.response.status_code = error.status
            return Response(error.to_json(""), error.status, media_type=PROBLEM.decode())
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        media_type = answer.content_type.decode()
        if isinstance(answer.content, bytes):
            return Response(answer.content, headers=headers, media_type=media_type)
        return StreamingResponse(answer.content, headers=headers, media_type=media_type)

    async def __is_ready__(self) -> bool:
        """Whether every model is loaded and warm, for BentoML's own readiness behind the front's."""
        return self.catalogue.ready

    async def _load(self) -> None:
        try:
            await asyncio.to_thread(self.catalogue.load)
        except (NoModelError, ProviderError, ModelError, SettingsError, StateError) as error:
            logger.critical("cannot start: %s", error)
            raise SystemExit(1) from error
        # What is loaded stays: the garbage collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        self._loaded.set()
        await watch(self.catalogue, self.settings.watch_seconds)


def _open_metrics() -> tuple[Metrics, Callable[[], None]]:
    """The metrics, and what lets go of what they hold."""
    if not wants_traces():
        return Metrics(), lambda: None
    from service.spans import Spans  # as above
    from service.tracing import TracedMetrics

    spans = Spans()
    return TracedMetrics(spans), spans.close
