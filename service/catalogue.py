"""The models that are loaded, and those that were refused."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from models.errors import ModelError
from models.repository import Repository
from service.config import Settings
from service.errors import NotFoundError, OverloadedError
from service.kinds import KINDS
from service.metrics import Metrics
from service.providers import Provider, ProviderError, choose_provider
from service.runtime import Model

_LOADING_SECONDS = 1.0

logger = logging.getLogger(__name__)


class NoModelError(Exception):
    """There is nothing to serve. The message says where was looked and what was wrong with what was found."""


class Refusal(NamedTuple):
    """A version that is not served, and why."""

    kind: str
    version: int
    reason: str


class Catalogue:
    """Loads the newest version of each kind that is what it says it is, and finds them for requests."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.ready = False
        self.refusals: list[Refusal] = []
        self._settings = settings
        self._metrics = metrics
        self._models: dict[str, Model] = {}
        self._repository = Repository(settings.models)
        # Decoders release the GIL for most of their work, so as many as there are cores.
        self._preparers = ThreadPoolExecutor(os.cpu_count(), "prepare")

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def load(self) -> None:
        """Load one version of each kind: the newest that is valid. Takes seconds; not for the event loop.

        Raises:
            NoModelError: there is no version of any kind that can be served.
            ProviderError: the provider of the settings cannot be used.
            RepositoryError: the folder of models cannot be read.
        """
        provider = choose_provider(self._settings.provider)
        models: dict[str, Model] = {}
        for kind in self._repository.kinds():
            if kind not in KINDS:
                logger.warning("%s: no such kind of model, expected one of %s", kind, ", ".join(KINDS))
                continue
            model, provider = self._load_newest(kind, provider)
            if model is not None:
                models[kind] = model
        if not models:
            reasons = "".join(f"\n  {kind} version {version}: {reason}" for kind, version, reason in self.refusals)
            raise NoModelError(f"{self._settings.models}: holds no model that can be served{reasons}")
        self._models = models
        self.ready = True

    def find(self, kind: str, version: int | None = None) -> Model:
        """The loaded model of ``kind``, and of ``version`` if that is given.

        Raises:
            NotFoundError: it is not loaded.
            OverloadedError: models are still being loaded.
        """
        model = self._models.get(kind)
        if not self.ready:
            raise OverloadedError("the models are being loaded", retry_after_seconds=_LOADING_SECONDS)
        if model is None:
            raise NotFoundError(f"no version of {kind} is loaded")
        if version is not None and version != model.manifest.version:
            raise NotFoundError(f"version {version} of {kind} is not loaded, expected {model.manifest.version}")
        return model

    def versions(self, kind: str) -> list[int]:
        """Every version of ``kind`` that is on disk, oldest first."""
        return self._repository.versions(kind)

    def close(self) -> None:
        """Let the threads go."""
        self.ready = False
        for model in self:
            model.close()
        self._preparers.shutdown(wait=False, cancel_futures=True)

    def _load_newest(self, kind: str, provider: Provider) -> tuple[Model | None, Provider]:
        """The newest version of ``kind`` that is valid, if there is one, and the provider that models run on."""
        for version in reversed(self._repository.versions(kind)):
            try:
                return self._load(kind, version, provider)
            except ModelError as error:
                reason = str(error).replace(f"{self._settings.models}{os.sep}", "")
                logger.error("refused %s version %d: %s", kind, version, reason)  # noqa: TRY400  # the reason says it all
                self.refusals.append(Refusal(kind, version, reason))
        return None, provider

    def _load(self, kind: str, version: int, provider: Provider) -> tuple[Model, Provider]:
        manifest = self._repository.load(kind, version)
        folder = self._repository.folder(kind, version)
        try:
            return Model(folder, manifest, provider, self._settings, self._metrics, self._preparers), provider
        except ProviderError as error:
            if self._settings.provider != "auto":
                raise
            logger.warning("provider auto: %s, so the CPU", error)
        return Model(folder, manifest, "cpu", self._settings, self._metrics, self._preparers), "cpu"
