"""The routes that answer with predictions: one for each kind of model."""

import asyncio
import time
from contextlib import aclosing

from service.audit import Audit
from service.bodies import Body, check_form, declare_size, read_content
from service.catalogue import Catalogue
from service.config import Settings
from service.errors import InternalError, RequestError
from service.exchange import Answer, Chunks, Exchange
from service.intake import Intake
from service.kinds import KINDS, DecidingKind
from service.metrics import SUCCESS, Metrics
from service.queries import Query, read_query
from service.response_cache import ResponseCache
from service.runtime import Model


class Predictions:
    """Answers for one kind of model."""

    def __init__(
        self,
        kind: str,
        catalogue: Catalogue,
        settings: Settings,
        metrics: Metrics,
        intake: Intake,
        audit: Audit | None = None,
        cache: ResponseCache | None = None,
    ) -> None:
        self._name = kind
        self._kind = KINDS[kind]
        self._catalogue = catalogue
        self._max_body_bytes = settings.max_body_bytes
        self._metrics = metrics
        self._intake = intake
        self._audit = audit
        self._decides = isinstance(self._kind, DecidingKind)
        self._cache = cache

    async def post(self, exchange: Exchange) -> Answer:
        """Find out what is asked, and of which model; read the body; have it answered."""
        headers = exchange.headers
        kind = check_form(headers, self._kind.MEDIA_TYPES)
        query = read_query(self._kind.Query, exchange.scope["query_string"])
        model = self._catalogue.find(self._name, query.version)
        size = declare_size(headers.get(b"content-length"), self._max_body_bytes)
        self._intake.take(size)
        try:
            content = await read_content(exchange, size)
            exchange.body_complete = True
            return await self._predict(model, Body(kind, headers.get(b"content-type", b""), content), query, exchange)
        finally:
            self._intake.give_back(size)

    async def _predict(self, model: Model, body: Body, query: Query, exchange: Exchange) -> Answer:
        version = str(model.manifest.version)
        try:
            accept = exchange.headers.get(b"accept", b"")
            if self._cache is None:
                answer = await model.answer(body, query, accept, exchange.deadline)
            else:
                query_string = exchange.scope["query_string"]
                answer = await self._cache.answer(model, body, query, query_string, accept, exchange.deadline)
        except BaseException as error:
            self._count_failure(version, error, exchange)
            raise
        if not isinstance(answer.content, bytes):
            return answer._replace(content=self._count(model, body, answer.content, exchange))
        self._metrics.request(self._name, version, SUCCESS, time.perf_counter() - exchange.began)
        if self._audit is not None:
            self._audit.offer(
                exchange, self._kind.ROUTE, model.manifest, body, answer.content if self._decides else None
            )
        comparison = self._catalogue.find_comparison(model)
        if comparison is not None:
            comparison.offer(body, query, answer.content)
        return answer

    async def _count(self, model: Model, body: Body, chunks: Chunks, exchange: Exchange) -> Chunks:
        """``chunks``, and how it went: an answer that is made while it is sent has not succeeded before its end."""
        version = str(model.manifest.version)
        async with aclosing(chunks):
            try:
                async for chunk in chunks:
                    yield chunk
            except BaseException as error:
                self._count_failure(version, error, exchange)
                raise
        self._metrics.request(self._name, version, SUCCESS, time.perf_counter() - exchange.began)
        if self._audit is not None:
            self._audit.offer(exchange, self._kind.ROUTE, model.manifest, body)

    def _count_failure(self, version: str, error: BaseException, exchange: Exchange) -> None:
        if isinstance(error, RequestError):
            status = str(error.status)
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            status = "504" if exchange.ended_by == "deadline" else "499"
        else:  # a fault of the service, which the front answers for
            status = str(InternalError.status)
        self._metrics.request(self._name, version, status)
