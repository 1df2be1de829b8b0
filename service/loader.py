"""From a version's folder to a model that can serve, or a reason why not."""

import logging
import os
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from models.errors import ModelError
from models.repository import Repository
from service.config import Settings
from service.metrics import Metrics
from service.providers import Provider, ProviderError, choose_provider
from service.runtime import Model

# What a folder looked like: the name, size, time of change and inode of each file in it.
_Look = tuple[tuple[str, int, int, int], ...]

logger = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """A version that is not served, and why."""

    kind: str
    version: int
    reason: str


class Loader:
    """Loads versions, one at a time, and remembers those that it refused until their files change.

    Args:
        settings: the folder of models, the provider, and what a model is given.
        metrics: is told of every load.
        preparers: the threads that decode what is too large for the event loop.
        is_rehearsal: whether they are loaded only to see that they can be.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, preparers: Executor, *, is_rehearsal: bool = False
    ) -> None:
        self.repository = Repository(settings.models)
        self.loading: tuple[str, int] | None = None
        self._settings = settings
        self._metrics = metrics
        self._preparers = preparers
        self._is_rehearsal = is_rehearsal
        self._provider: Provider | None = None
        self._refused: dict[tuple[str, int], tuple[_Look, str]] = {}
        self._loaded: dict[tuple[str, int], _Look] = {}

    @property
    def refusals(self) -> list[Refusal]:
        """The versions that were refused, and why."""
        return [Refusal(*key, reason) for key, (_, reason) in list(self._refused.items())]

    def is_refused(self, kind: str, version: int) -> bool:
        """Whether a version was refused, and its files are as they were then."""
        refused = self._refused.get((kind, version))
        return refused is not None and refused[0] == self._look_at(kind, version)

    def is_changed(self, kind: str, version: int) -> bool:
        """Whether the files of a version that was loaded are not as they were then."""
        return self._loaded.get((kind, version)) != self._look_at(kind, version)

    def forget(self, kind: str) -> None:
        """Try the versions of ``kind`` that were refused again."""
        self._refused = {key: refused for key, refused in self._refused.items() if key[0] != kind}

    def choose_provider(self) -> None:
        """Find out where models are to run.

        Raises:
            ProviderError: the provider of the settings cannot be used.
        """
        self._use(choose_provider(self._settings.provider))

    def load(self, kind: str, version: int, *, is_start: bool = False) -> Model | None:
        """A version that is what it says it is, warmed; None where it is refused.

        Raises:
            ProviderError: at the start, the provider of the settings cannot be used.
        """
        look = self._look_at(kind, version)
        self.loading = (kind, version)
        began = time.perf_counter()
        try:
            model = self._load(kind, version, is_start=is_start)
        except ModelError as error:
            self._refuse(kind, version, look, str(error))
        except ProviderError as error:
            if is_start:
                raise
            self._refuse(kind, version, look, str(error))
        except OSError as error:
            # Files come and go while they are read.
            self._refuse(kind, version, look, f"{error.filename}: cannot be read: {error.strerror}")
        except Exception:
            # Whatever a folder brings about must not keep the versions of others from being loaded.
            logger.exception("%s version %d: a fault of the service", kind, version)
            self._refuse(kind, version, look, "a fault of the service; its log says which")
        else:
            self._refused.pop((kind, version), None)
            self._loaded[kind, version] = look
            self._metrics.load(kind, "loaded", time.perf_counter() - began)
            return model
        finally:
            self.loading = None
        self._metrics.load(kind, "refused", time.perf_counter() - began)
        return None

    def _load(self, kind: str, version: int, *, is_start: bool) -> Model:
        assert self._provider is not None  # noqa: S101  # by choose_provider
        try:
            return self._load_on(self._provider, kind, version)
        except ProviderError as error:
            # Once models run somewhere, a version that cannot run there is refused: others serve in its place.
            if self._settings.provider != "auto" or not is_start:
                raise
            logger.warning("provider auto: %s, so the CPU", error)
        self._use("cpu")
        return self._load_on("cpu", kind, version)

    def _load_on(self, provider: Provider, kind: str, version: int) -> Model:
        return Model(
            self.repository.folder(kind, version),
            self.repository.load(kind, version),
            provider,
            self._settings,
            self._metrics,
            self._preparers,
            is_rehearsal=self._is_rehearsal,
        )

    def _use(self, provider: Provider) -> None:
        self._provider = provider
        self._metrics.provide(provider)

    def _refuse(self, kind: str, version: int, look: _Look, message: str) -> None:
        reason = message.replace(f"{self._settings.models}{os.sep}", "")
        before = self._refused.get((kind, version))
        self._refused[kind, version] = (look, reason)
        # A folder that is being copied is looked at again and again.
        if before is None or before[1] != reason:
            logger.error("refused %s version %d: %s", kind, version, reason)

    def _look_at(self, kind: str, version: int) -> _Look:
        try:
            return tuple(sorted(map(_stat, self.repository.folder(kind, version).iterdir())))
        except OSError:
            return ()


def _stat(path: Path) -> tuple[str, int, int, int]:
    status = path.lstat()
    return path.name, status.st_size, status.st_mtime_ns, status.st_ino
