"""The versions that are loaded, which of them answer, and those that were refused.

All versions are loaded one after the other, after the start in one thread of low priority. What then changes is
settled by the plan of the kind and by what is loaded, in one assignment: a request has found its model before or
after. A version that is not to be kept is let go here, and is gone when the last request that it answers is done with
it, since nothing else refers to it.
"""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from random import random
from typing import Final, NamedTuple, TypeVar

from service.comparison import Comparison
from service.config import PREFIX, Settings, SettingsError
from service.documents import VersionState
from service.errors import ConflictError, NotFoundError, OverloadedError
from service.kinds import KINDS, GeneratingKind
from service.loader import Loader, Refusal
from service.metrics import Metrics
from service.priority import LOW, lower_priority
from service.runtime import Model
from service.serving import Serving
from service.state import Plan, Record, State, StateFile, list_initial_plans

_LOADING_SECONDS: Final = 1.0
# What was counted of versions that serve no more is kept for so many of them, for who collects metrics to see its end.
_REMEMBERED: Final = 8

Result = TypeVar("Result")
Edit = Callable[[Plan], Plan]

logger = logging.getLogger(__name__)


class NoModelError(Exception):
    """There is nothing to serve. The message says where was looked and what was wrong with what was found."""


class VersionEntry(NamedTuple):
    """A version that is on disk or loaded."""

    version: int
    state: VersionState
    reason: str  # why it was refused, or its files are not taken
    model: Model | None


class Catalogue:
    """Loads the versions that are to serve, and finds them for requests.

    Args:
        settings: the folder of models, the plans to begin with, and what a model is given.
        metrics: is told of every load, and of what serves.
        is_rehearsal: whether it is only to be seen that they can be loaded, in a fraction of the time.
    """

    def __init__(self, settings: Settings, metrics: Metrics, *, is_rehearsal: bool = False) -> None:
        self.ready = False
        self._settings = settings
        self._metrics = metrics
        self._serving: dict[str, Serving] = {}
        self._state = StateFile(settings.state)
        self._initial_plans = list_initial_plans(settings)
        self._asked: dict[str, int] = {}
        self._troubles: dict[str, str] = {}
        self._settling = threading.RLock()
        self._released: dict[str, deque[str]] = {}
        # Decoders release the GIL for most of their work, so as many as there are cores.
        self._preparers = ThreadPoolExecutor(os.cpu_count(), "prepare")
        self._loader = Loader(settings, metrics, self._preparers, is_rehearsal=is_rehearsal)
        self._loading = ThreadPoolExecutor(1, "load", initializer=lower_priority, initargs=(LOW,))
        self._comparing = ThreadPoolExecutor(1, "compare", initializer=lower_priority, initargs=(LOW,))

    def __iter__(self) -> Iterator[Model]:
        """Every version that is loaded."""
        return iter([model for serving in self._serving.copy().values() for model in serving.versions.values()])

    def find(self, kind: str, version: int | None = None) -> Model:
        """The loaded model of ``kind`` that is to answer: ``version``, or the default or its canary.

        Raises:
            NotFoundError: it is not loaded.
            OverloadedError: models are still being loaded.
        """
        serving = self._find_serving(kind)
        if version is None:
            if serving.canary is not None and random() < serving.canary_share:  # noqa: S311  # no secret
                return serving.canary
            return serving.default
        model = serving.versions.get(version)
        if model is None:
            expected = " or ".join(map(str, sorted(serving.versions)))
            raise NotFoundError(f"version {version} of {kind} is not loaded, expected {expected}")
        return model

    def find_default(self, kind: str) -> Model:
        """The default version of ``kind``, whatever its canary.

        Raises:
            NotFoundError: there is none.
            OverloadedError: models are still being loaded.
        """
        return self._find_serving(kind).default

    def find_comparison(self, model: Model) -> Comparison | None:
        """What compares the answers of ``model`` with those of a shadow, if there is one."""
        serving = self._serving.get(model.manifest.kind)
        return serving.comparison if serving is not None and serving.default is model else None

    def list_defaults(self) -> list[Model]:
        """The default version of each kind that has one."""
        return [serving.default for serving in self._serving.copy().values()]

    def list_loaded(self, kind: str) -> list[int]:
        """The versions of ``kind`` that are loaded, oldest first."""
        serving = self._serving.get(kind)
        return sorted(serving.versions) if serving is not None else []

    def list_entries(self, kind: str) -> list[VersionEntry]:
        """Every version of ``kind`` that is on disk or loaded, oldest first."""
        serving = self._serving.get(kind)
        models: Mapping[int, Model] = serving.versions if serving is not None else {}
        reasons = {refusal.version: refusal.reason for refusal in self.refusals if refusal.kind == kind}
        entries = []
        for version in sorted({*self._loader.repository.versions(kind), *models}):
            if version in models:
                assert serving is not None  # noqa: S101  # it has this version
                part = serving.find_part(version)
                state: VersionState = "serving" if part == "default" else part
            elif self._loader.loading == (kind, version):
                state = "loading"
            else:
                state = "refused" if version in reasons else "not loaded"
            entries.append(VersionEntry(version, state, reasons.get(version, ""), models.get(version)))
        return entries

    def find_plan(self, kind: str) -> Plan:
        """What is to serve ``kind``, as of the last look at the state."""
        return self._find_plan(kind, self._state.last)

    def find_previous(self, kind: str) -> int | None:
        """The version that a rollback goes to, as of the last look at the state."""
        record = self._state.last.records.get(kind)
        return None if record is None else record.previous

    @property
    def refusals(self) -> list[Refusal]:
        """The versions that were refused, and why."""
        return self._loader.refusals

    def load(self) -> None:
        """Load what is to serve: the version of each kind that the plan names, or the newest that is valid.

        Takes seconds; not for the event loop.

        Raises:
            NoModelError: there is no version of any kind that can be served.
            ProviderError: the provider of the settings cannot be used.
            RepositoryError: the folder of models cannot be read.
            SettingsError: a kind that is pinned, say, is none.
            StateError: the state cannot be read.
        """
        for field in ("pin", "canary", "shadow"):
            _check_kinds(field, getattr(self._settings, field))
        self._loader.choose_provider()
        for kind in self._loader.repository.kinds():
            if kind not in KINDS:
                logger.warning("%s: no such kind of model, expected one of %s", kind, ", ".join(KINDS))
        for kind in KINDS:
            self._asked[kind] = self._find_plan(kind, self._state.read()).asked
            self._follow(kind, is_start=True)
        if not self._serving and not any(self._find_plan(kind, self._state.read()).unloaded for kind in KINDS):
            reasons = "".join(f"\n  {kind} version {version}: {reason}" for kind, version, reason in self.refusals)
            raise NoModelError(f"{self._settings.models}: holds no model that can be served{reasons}")
        self.ready = True

    def look(self) -> None:
        """Take over what has changed in the folder of models and in the state. Not for two threads at a time."""
        for kind in KINDS:
            try:
                self._follow(kind)
            except Exception as error:
                # Whatever it is, what serves goes on, and the next look may find it mended.
                if repr(error) != self._troubles.get(kind):
                    logger.exception("%s: the versions stay as they are", kind)
                self._troubles[kind] = repr(error)
            else:
                self._troubles.pop(kind, None)

    async def run(self, function: Callable[[], Result]) -> Result:
        """What ``function`` returns, called in the thread that loads."""
        return await asyncio.get_running_loop().run_in_executor(self._loading, function)

    async def change(self, kind: str, edit: Edit, record: Record | None = None) -> None:
        """Put what ``edit`` makes of the plan of ``kind`` in its place, once every version that it names is loaded.

        Where they are loaded already, it waits for no other version to be loaded.

        Args:
            kind: a kind of model.
            edit: makes the new plan.
            record: which version is the default then, and which was, where that does not follow from what serves now.

        Raises:
            ConflictError: a version cannot be loaded, or there is no state to keep a plan in; nothing has changed.
            StateError: the state cannot be read or written.
        """
        if not self._state.is_kept:
            raise ConflictError("the service keeps no state, so that its versions cannot be set while it runs")
        if set(edit(self._find_plan(kind, self._state.read())).list_versions()) <= set(self.list_loaded(kind)):
            await asyncio.to_thread(self._change, kind, edit, (), record)
        else:
            await self.run(lambda: self._load_and_change(kind, edit, record))

    async def roll_back(self, kind: str) -> None:
        """Make the version that was the default before the default again, and end the canary.

        A second rollback, as of a client that heard no answer to the first, goes no further back.

        Raises:
            ConflictError: there is none, or it cannot be loaded.
            StateError: the state cannot be read or written.
        """
        record = self._state.read().records.get(kind)
        previous = None if record is None else record.previous
        if previous is None:
            raise ConflictError(f"{kind} has no earlier default version to go back to")
        changes = {"default": previous, "canary": None, "unloaded": False}
        await self.change(kind, lambda plan: plan.model_copy(update=changes), Record(default=previous, previous=None))

    async def take(self, kind: str, version: int | None) -> None:
        """Load ``version``, or look at the files of ``kind`` anew: those that were refused, and those that serve.

        Raises:
            ConflictError: what was to be loaded was refused, or there is no state to keep a plan in.
            StateError: the state cannot be read or written.
        """
        if version is not None:
            await self.change(kind, lambda plan: _add_loaded(plan, version))
            return
        await self.change(kind, lambda plan: plan.model_copy(update={"unloaded": False, "asked": plan.asked + 1}))
        await self.run(lambda: self._follow(kind))
        entries = self.list_entries(kind)
        wanted = self.find_plan(kind).default or max((entry.version for entry in entries), default=None)
        refused = next((entry for entry in entries if entry.version == wanted and entry.reason), None)
        if refused is not None:
            raise ConflictError(f"version {refused.version} of {kind} was refused: {refused.reason}")

    def close(self) -> None:
        """Let the threads go."""
        self.ready = False
        for model in self:
            model.close()
        for executor in (self._preparers, self._loading, self._comparing):
            executor.shutdown(wait=False, cancel_futures=True)

    def _find_serving(self, kind: str) -> Serving:
        serving = self._serving.get(kind)
        if not self.ready:
            raise OverloadedError("the models are being loaded", retry_after_seconds=_LOADING_SECONDS)
        if serving is None:
            raise NotFoundError(f"no version of {kind} is loaded")
        return serving

    def _find_plan(self, kind: str, state: State) -> Plan:
        return state.plans.get(kind) or self._initial_plans.get(kind) or Plan()

    def _follow(self, kind: str, *, is_start: bool = False) -> None:
        """Load what the plan wants and is not there, each version taking its part as soon as it can."""
        asked = self._find_plan(kind, self._state.read()).asked
        if asked != self._asked.get(kind, 0):
            self._asked[kind] = asked
            self._loader.forget(kind)
            changed = [version for version in self.list_loaded(kind) if self._loader.is_changed(kind, version)]
            self._settle(kind, [model for version in changed if (model := self._loader.load(kind, version))])
        tried: set[int] = set()  # once, as a folder may change all the time while it is copied
        while (version := self._find_missing(kind, tried, with_spare=not is_start)) is not None:
            tried.add(version)
            model = self._loader.load(kind, version, is_start=is_start)
            self._settle(kind, [] if model is None else [model])
        self._settle(kind)
        self._metrics.refused(kind, sum(bool(entry.reason) for entry in self.list_entries(kind)))

    def _find_missing(self, kind: str, tried: Set[int], *, with_spare: bool) -> int | None:
        """The next version to load, the default first; None where all are there that can be."""
        state = self._state.read()
        plan = self._find_plan(kind, state)
        if plan.unloaded:
            return None
        loaded = self.list_loaded(kind)
        wanted = plan.list_versions()
        if plan.default is None:
            newest = max(loaded, default=0)
            on_disk = self._loader.repository.versions(kind)
            wanted = [*(version for version in reversed(on_disk) if version > newest), *wanted]
        elif not loaded:
            wanted = [plan.default]  # the others have nobody to stand beside
        record = state.records.get(kind)
        if with_spare and record is not None and record.previous is not None and self._settings.loaded_versions > 1:
            wanted.append(record.previous)
        missing = (version for version in wanted if version not in loaded and version not in tried)
        return next((version for version in missing if not self._loader.is_refused(kind, version)), None)

    def _load_and_change(self, kind: str, edit: Edit, record: Record | None) -> None:
        plan = edit(self._find_plan(kind, self._state.read()))
        loaded = self.list_loaded(kind)
        models = []
        for version in plan.list_versions():
            if version not in loaded:
                model = self._loader.load(kind, version)
                if model is None:
                    reason = next(found.reason for found in self.refusals if found[:2] == (kind, version))
                    raise ConflictError(f"version {version} of {kind} was refused: {reason}")
                models.append(model)
        self._change(kind, edit, models, record)
        self._follow(kind)

    def _change(self, kind: str, edit: Edit, models: Iterable[Model], record: Record | None) -> None:
        def apply(state: State) -> State:
            changed = state.with_plan(kind, edit(self._find_plan(kind, state)))
            return changed if record is None else changed.with_record(kind, record)

        with self._settling:
            self._state.change(apply)
            self._settle(kind, models)

    def _settle(self, kind: str, models: Iterable[Model] = ()) -> None:
        """Let the plan of ``kind`` hold for what is loaded, and for ``models``, which were loaded just now."""
        with self._settling:
            state = self._state.read()
            plan = self._find_plan(kind, state)
            before = self._serving.get(kind)
            loaded = {**(before.versions if before is not None else {}), **{m.manifest.version: m for m in models}}
            default = _choose_default(plan, loaded, before)
            if default is None:
                self._serving.pop(kind, None)
                kept: Mapping[int, Model] = {}
            else:
                record = self._record(kind, default.manifest.version, state, before)
                kept = self._choose_kept(plan, record, loaded, default)
                self._serving[kind] = self._arrange(plan, kept, default, before)
            if before is not None:
                self._let_go(kind, before.versions, kept)
            self._announce(kind, before, self._serving.get(kind))

    def _record(self, kind: str, default: int, state: State, before: Serving | None) -> Record:
        """Keep in the state what the default was before, where it is another one now."""
        record = state.records.get(kind)
        if record is not None and (record.default == default or _is_default(before, default)):
            return record
        earlier = [] if record is None else [record.default, record.previous]
        on_disk = self._loader.repository.versions(kind)
        candidates = [*earlier, *(version for version in reversed(on_disk) if version < default)]
        known = {*on_disk, *(before.versions if before is not None else ())}
        refused = {refusal.version for refusal in self.refusals if refusal.kind == kind}
        usable = (v for v in candidates if v is not None and v != default and v in known and v not in refused)
        record = Record(default=default, previous=next(usable, None))
        self._state.change(lambda state: state.with_record(kind, record))
        return record

    def _choose_kept(self, plan: Plan, record: Record, loaded: Mapping[int, Model], default: Model) -> dict[int, Model]:
        """The versions that stay: those that serve, and the latest others as far as the settings have room."""
        named = {default.manifest.version, *plan.list_versions()}
        latest = [record.previous, *sorted(loaded, reverse=True)]
        spare = [v for v in dict.fromkeys(latest) if v is not None and v in loaded and v not in named]
        named.update(spare[: self._settings.loaded_versions - 1])
        return {version: model for version, model in sorted(loaded.items()) if version in named}

    def _arrange(self, plan: Plan, kept: Mapping[int, Model], default: Model, before: Serving | None) -> Serving:
        canary = kept.get(plan.canary.version) if plan.canary is not None else None
        share = plan.canary.share if plan.canary is not None and canary is not None else 0.0
        if canary is default:
            canary, share = None, 0.0
        shadow = kept.get(plan.shadow) if plan.shadow is not None else None
        if shadow is None or shadow is default or isinstance(shadow.kind, GeneratingKind):
            return Serving(default, kept, canary, share)
        comparison = before.comparison if before is not None else None
        if comparison is None or comparison.candidate is not shadow:
            comparison = Comparison(shadow, self._metrics, self._comparing)
        return Serving(default, kept, canary, share, comparison)

    def _let_go(self, kind: str, before: Mapping[int, Model], kept: Mapping[int, Model]) -> None:
        released = self._released.setdefault(kind, deque())
        for version in before.keys() - kept.keys():
            released.append(str(version))
            if len(released) > _REMEMBERED:
                forgotten = released.popleft()
                if forgotten not in map(str, kept):
                    self._metrics.forget(kind, forgotten)

    def _announce(self, kind: str, before: Serving | None, now: Serving | None) -> None:
        """Say in the log and in the metrics what has changed."""
        parts_before = {} if before is None else {v: before.find_part(v) for v in before.versions}
        parts = {} if now is None else {version: now.find_part(version) for version in now.versions}
        share = 0.0 if now is None else now.canary_share
        if parts == parts_before and (before is None or before.canary_share == share):
            return
        self._metrics.serve(kind, {str(version): part for version, part in parts.items()}, share)
        words = [f"{v} {part}" + (f" of {share:g}" if part == "canary" else "") for v, part in parts.items()]
        logger.info("%s: versions: %s", kind, ", ".join(words) or "none")


def _choose_default(plan: Plan, loaded: Mapping[int, Model], before: Serving | None) -> Model | None:
    """The version that is to be the default, or the one that is where that one is not loaded."""
    if plan.unloaded or not loaded:
        return None
    wanted = max(loaded) if plan.default is None else plan.default
    current = before.default.manifest.version if before is not None else None
    return loaded.get(wanted) or (loaded[current] if current is not None else None)


def _check_kinds(field: str, kinds: Iterable[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise SettingsError(f"{PREFIX}{field.upper()}: '{kind}' is none of {', '.join(KINDS)}")
        if field == "shadow" and isinstance(KINDS[kind], GeneratingKind):
            raise SettingsError(f"{PREFIX}{field.upper()}: '{kind}' makes things up, which cannot be compared")


def _is_default(serving: Serving | None, version: int) -> bool:
    return serving is not None and serving.default.manifest.version == version


def _add_loaded(plan: Plan, version: int) -> Plan:
    if version in plan.list_versions():
        return plan
    return plan.model_copy(update={"loaded": (*plan.loaded, version), "unloaded": False})
