"""The calls of the service ``inference.GRPCInferenceService``."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError
from pydantic import BaseModel

from service.administration import Administration, LoadRequest, UnloadRequest
from service.bodies import check_document, read_content
from service.config import Settings
from service.errors import BadBodyError, NotFoundError, OverloadedError, UnprocessableError
from service.exchange import Answer, Exchange
from service.graphs import Graphs
from service.grpc.encoding import PROTOBUF, MessageEncoding, read_parameters
from service.grpc.messages import SERVICE, find_message
from service.problems import shorten
from service.routes import Handler, Route

_INFER: Final = f"/{SERVICE}/ModelInfer"

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Calls:
    """Answers for the service's calls. Each public method but one is a call.

    Args:
        graphs: what is asked.
        administration: loads and unloads models.
        settings: the bytes of a message at most, and of all that are being read or answered.
        is_draining: whether the service is about to stop.
    """

    def __init__(
        self, graphs: Graphs, administration: Administration, settings: Settings, is_draining: Callable[[], bool]
    ) -> None:
        self._graphs = graphs
        self._administration = administration
        self._max_message_bytes = settings.max_body_bytes
        # How large a message is, is known when it was read. So no more are read at a time than there is room for.
        self._reading = asyncio.Semaphore(settings.max_pending_bytes // settings.max_body_bytes)
        self._is_draining = is_draining

    def list_routes(self) -> dict[str, Route]:
        """The calls by their names in the protocol."""
        calls: Mapping[str, Handler] = {
            "ServerLive": self.get_liveness,
            "ServerReady": self.get_readiness,
            "ServerMetadata": self.get_server,
            "ModelReady": self.get_model_readiness,
            "ModelMetadata": self.get_model,
            "ModelInfer": self.infer,
            "RepositoryIndex": self.list_models,
        }
        changes: Mapping[str, Handler] = {"RepositoryModelLoad": self.load, "RepositoryModelUnload": self.unload}
        routes = {name: Route(f"/{SERVICE}/{name}", {"POST": handler}) for name, handler in calls.items()}
        return routes | {
            name: Route(f"/{SERVICE}/{name}", {"POST": handler}, admin=True, guarded=True)
            for name, handler in changes.items()
        }

    async def get_liveness(self, _: Exchange) -> Answer:
        """True as long as the process answers at all."""
        return _answer("ServerLiveResponse", live=True)

    async def get_readiness(self, _: Exchange) -> Answer:
        """True once every model is loaded and warm, until the service is about to stop."""
        return _answer("ServerReadyResponse", ready=self._graphs.ready and not self._is_draining())

    async def get_server(self, _: Exchange) -> Answer:
        """What the server is, and which extensions it has."""
        return _answer("ServerMetadataResponse", **self._graphs.describe_server())

    async def get_model_readiness(self, exchange: Exchange) -> Answer:
        """Whether a model can be asked."""
        request = await self._read("ModelReadyRequest", exchange)
        try:
            self._graphs.find(request.name, request.version or None)
        except (NotFoundError, OverloadedError):
            return _answer("ModelReadyResponse", ready=False)
        return _answer("ModelReadyResponse", ready=not self._is_draining())

    async def get_model(self, exchange: Exchange) -> Answer:
        """What a model takes and gives."""
        request = await self._read("ModelMetadataRequest", exchange)
        return _answer("ModelMetadataResponse", **self._graphs.describe(request.name, request.version or None))

    async def infer(self, exchange: Exchange) -> Answer:
        """Run a model's graph on the tensors of a request."""
        content = await self._read_content(exchange)
        self._graphs.intake.take(len(content))
        try:
            request = _parse("ModelInferRequest", content)
            model = self._graphs.find(request.model_name, request.model_version or None)
            return await self._graphs.infer(model, content, MessageEncoding(request), exchange, _INFER)
        finally:
            self._graphs.intake.give_back(len(content))

    async def list_models(self, exchange: Exchange) -> Answer:
        """Every version of every model that is on disk, and whether it can be asked."""
        request = await self._read("RepositoryIndexRequest", exchange)
        _check_repository(request)
        return _answer("RepositoryIndexResponse", models=self._graphs.list_versions(ready=request.ready))

    async def load(self, exchange: Exchange) -> Answer:
        """Load a version, or look at the files of a kind anew and serve what is to serve."""
        request = await self._read("RepositoryModelLoadRequest", exchange)
        parameters = _check_change(request, LoadRequest, ("version",)).parameters
        await self._administration.load_version(request.model_name, parameters.version)
        return _answer("RepositoryModelLoadResponse")

    async def unload(self, exchange: Exchange) -> Answer:
        """Let a version go that was loaded by its number, or serve the kind no more."""
        request = await self._read("RepositoryModelUnloadRequest", exchange)
        parameters = _check_change(request, UnloadRequest, ("version", "unload_dependents")).parameters
        await self._administration.unload_version(request.model_name, parameters.version)
        return _answer("RepositoryModelUnloadResponse")

    async def _read(self, name: str, exchange: Exchange) -> Any:
        return _parse(name, await self._read_content(exchange))

    async def _read_content(self, exchange: Exchange) -> bytes:
        async with self._reading:
            return await read_content(exchange, self._max_message_bytes)


def _parse(name: str, content: bytes) -> Any:
    try:
        return find_message(name).FromString(content)
    except DecodeError as error:
        raise BadBodyError(f"the message is no {name}") from error


def _answer(message: str, /, **fields: object) -> Answer:
    return Answer(200, PROTOBUF, find_message(message)(**fields).SerializeToString())


def _check_repository(request: Any) -> None:
    if request.repository_name:
        message = f"'{shorten(request.repository_name)}', expected none: there is one repository, without a name"
        raise UnprocessableError([("repository_name", message)])


def _check_change(request: Any, model: type[AnyModel], known: tuple[str, ...]) -> AnyModel:
    """What is to be loaded or unloaded, checked as HTTP's form of it is."""
    _check_repository(request)
    return check_document(model, {"parameters": read_parameters(request.parameters, "parameters", known)})
