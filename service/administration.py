"""The routes that set which versions serve."""

from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.bodies import declare_size, media_type, read_content, read_json
from service.catalogue import Catalogue
from service.config import Canary
from service.errors import ConflictError, NotFoundError, UnprocessableError, UnsupportedMediaTypeError
from service.exchange import JSON, Answer, Exchange
from service.kinds import KINDS, GeneratingKind
from service.routes import Route
from service.state import Plan

_MAX_BYTES: Final = 65_536

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Number = Annotated[int, Field(ge=1)]


class PlanChange(BaseModel):
    """What is to serve a kind from now on; a member that is not sent stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    default: Number | None = Field(default=None, description="The default version; null: the newest.")
    canary: Canary | None = Field(default=None, description="Answers a share of what asks for no version; null: none.")
    shadow: Number | None = Field(
        default=None, description="Is asked what the default version is, and its answers are compared; null: none."
    )


class LoadParameters(BaseModel):
    """Which version to load."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Annotated[str, Field(pattern="^[1-9][0-9]{0,8}$")] | None = Field(
        default=None, description="One version, beside those that serve; if not given, all that is to serve."
    )


class UnloadParameters(LoadParameters):
    """Which version to unload."""

    unload_dependents: bool = Field(default=False, description="Is accepted: no model depends on another.")


class LoadRequest(BaseModel):
    """Open Inference Protocol: load a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    parameters: LoadParameters = LoadParameters()


class UnloadRequest(BaseModel):
    """Open Inference Protocol: unload a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    parameters: UnloadParameters = UnloadParameters()


class Administration:
    """Answers for the routes that only administrators may use: each public method that takes an exchange is one."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def list_routes(self) -> dict[str, Route]:
        """The administrators' part of the table of routes."""
        handlers: Mapping[str, Mapping[str, object]] = {
            "/admin/models/{kind}": {"PATCH": self.change},
            "/admin/models/{kind}/rollback": {"POST": self.roll_back},
            "/v2/repository/models/{kind}/load": {"POST": self.load},
            "/v2/repository/models/{kind}/unload": {"POST": self.unload},
        }
        return {path: Route(path, methods, admin=True, guarded=True) for path, methods in handlers.items()}  # type: ignore[arg-type]

    async def change(self, exchange: Exchange) -> Answer:
        """Set the default version, the canary or the shadow of a kind."""
        kind = _find_kind(exchange)
        change = await _read(exchange, PlanChange)
        if change.shadow is not None and isinstance(KINDS[kind], GeneratingKind):
            raise UnprocessableError([("shadow", f"{kind} makes things up, which cannot be compared")])
        updates = {name: getattr(change, name) for name in change.model_fields_set}
        await self._catalogue.change(kind, lambda plan: plan.model_copy(update=updates))
        return self._describe(kind)

    async def roll_back(self, exchange: Exchange) -> Answer:
        """Make the version that was the default before the default again, and end the canary."""
        kind = _find_kind(exchange)
        await self._catalogue.roll_back(kind)
        return self._describe(kind)

    async def load(self, exchange: Exchange) -> Answer:
        """Load a version, or look at the files of a kind anew and serve what is to serve."""
        kind = _find_kind(exchange)
        await self.load_version(kind, (await _read(exchange, LoadRequest)).parameters.version)
        return self._describe(kind)

    async def unload(self, exchange: Exchange) -> Answer:
        """Let a version go that was loaded by its number, or serve the kind no more."""
        kind = _find_kind(exchange)
        await self.unload_version(kind, (await _read(exchange, UnloadRequest)).parameters.version)
        return self._describe(kind)

    async def load_version(self, kind: str, version: str | None) -> None:
        """Load ``version``, or look at the files of ``kind`` anew and serve what is to serve.

        Raises:
            RequestError: there is no such kind, or what was to be loaded was refused.
        """
        _check_kind(kind)
        await self._catalogue.take(kind, None if version is None else int(version))

    async def unload_version(self, kind: str, version: str | None) -> None:
        """Let ``version`` go, which was loaded by its number, or serve ``kind`` no more.

        Raises:
            RequestError: there is no such kind, or the version has a part in what serves.
        """
        _check_kind(kind)
        if version is None:
            await self._catalogue.change(kind, _unload)
            return
        number = int(version)
        parts = {entry.version: entry.state for entry in self._catalogue.list_entries(kind)}
        if parts.get(number) in ("serving", "canary", "shadow"):
            raise ConflictError(f"version {number} of {kind} cannot be unloaded: its state is {parts[number]}")
        await self._catalogue.change(kind, lambda plan: _leave_out(plan, number))

    def _describe(self, kind: str) -> Answer:
        return Answer(200, JSON, orjson.dumps(describe_plan(self._catalogue, kind)))


def describe_plan(catalogue: Catalogue, kind: str) -> dict[str, JsonValue]:
    """What is to serve a kind, and what does."""
    plan = catalogue.find_plan(kind)
    entries = catalogue.list_entries(kind)
    default = next((str(entry.version) for entry in entries if entry.state == "serving"), None)
    previous = catalogue.find_previous(kind)
    canary: JsonValue = (
        None if plan.canary is None else {"version": str(plan.canary.version), "share": plan.canary.share}
    )
    return {
        "kind": kind,
        "default_version": default,
        "pinned": plan.default is not None,
        "previous_version": None if previous is None else str(previous),
        "canary": canary,
        "shadow_version": None if plan.shadow is None else str(plan.shadow),
        "versions": [
            {"version": str(entry.version), "state": entry.state, "reason": entry.reason} for entry in entries
        ],
    }


def _unload(plan: Plan) -> Plan:
    return Plan(default=plan.default, unloaded=True, asked=plan.asked)


def _leave_out(plan: Plan, version: int) -> Plan:
    return plan.model_copy(update={"loaded": tuple(number for number in plan.loaded if number != version)})


def _find_kind(exchange: Exchange) -> str:
    kind: str = exchange.scope["path_params"]["kind"]
    _check_kind(kind)
    return kind


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise NotFoundError("no such kind of model: /models lists those that there are")


async def _read(exchange: Exchange, model: type[AnyModel]) -> AnyModel:
    """The JSON body of a request, or a body that is not there, as ``model``."""
    headers = exchange.headers
    kind = media_type(headers.get(b"content-type", b"application/json"))
    if kind not in ("application/json", "application/octet-stream"):
        raise UnsupportedMediaTypeError(f"the body is '{kind[:100]}', expected application/json")
    content = await read_content(exchange, declare_size(headers.get(b"content-length"), _MAX_BYTES))
    return read_json(model, content) if content else model()
