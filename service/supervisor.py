"""BentoML's supervisor of the worker processes, held to what this service promises.

As BentoML sets it up, a worker that ended is missed for up to ten seconds (8.2 measured), in a container for ever, and
one that cannot start is started again and again without end. Here it is replaced within a second, everywhere, and where
there is none but workers that end at their start, the service ends too. Nor does it take commands at a port of the
machine, where every user of it could have it start a program, and which could be the very port that is to be served at:
it takes them at a socket in a folder that is its own. BentoML gives no way to choose the supervisor, so it is entered
under the name that BentoML looks for.
"""

import atexit
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

from bentoml._internal.utils import circus as bentoml_circus

from service import logs
from service.config import Settings, load_settings
from service.server import ADMIN_SOCKET
from service.siblings import FOLDER

CHECK_SECONDS: Final = 0.25
# So many workers in a row that ended by themselves this soon after their start: the next one would too.
MAX_FAILED_STARTS: Final = 3
START_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 0.1
_BACKLOG: Final = 128

logger = logging.getLogger(__name__)


class Supervisor(bentoml_circus.Arbiter):
    """Keeps as many workers running as the settings ask for."""

    def __init__(self, watchers: list[Any], *arguments: Any, **options: Any) -> None:
        folder = _own_folder()
        endpoints = {"endpoint": f"ipc://{folder}/commands", "pubsub_endpoint": f"ipc://{folder}/events"}
        super().__init__(watchers, *arguments, **options | endpoints | {"check_delay": CHECK_SECONDS})
        self._started: dict[int, float] = {}
        self._failed_starts = 0
        self._last_status = 0
        for watcher in watchers:
            watcher.respawn = True
            watcher.numprocesses = load_settings().workers
            watcher.hooks |= {"after_spawn": self._note_start, "after_reap": self._note_end}

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Run until the service is told to stop.

        Raises:
            SystemExit: the workers cannot start.
        """
        try:
            super().start(cb)
        except RuntimeError as error:  # what circus ends with where there is no worker left
            logs.flush()
            raise SystemExit(
                f"modelyard cannot go on: {self._failed_starts} workers in a row ended at their start, "
                f"the last with status {self._last_status}"
            ) from error

    def manage_watchers(self) -> Any:
        """Replace the workers that ended; at the next time where they are being started or ended now."""
        return None if self._exclusive_running_command is not None else super().manage_watchers()

    def stop(self) -> Any:
        """Have every worker drain and end."""
        if self._exclusive_running_command is not None:  # a worker is being replaced at this moment, or they end
            self.loop.call_later(_RETRY_SECONDS, self.stop)
            return None
        # The workers have this socket too. Where it is open here, connections wait for nobody once they closed theirs.
        self.sockets.close_all()
        return super().stop()

    def _note_start(self, pid: int, **_: object) -> bool:
        self._started[pid] = time.monotonic()
        return True

    def _note_end(self, watcher: Any, process_pid: int, exit_code: int | None, **_: object) -> None:
        seconds = time.monotonic() - self._started.pop(process_pid, 0.0)
        if watcher.is_stopping() or watcher.is_stopped():
            return
        logger.error("worker %d ended with status %s after %.1f seconds", process_pid, exit_code, seconds)
        if exit_code is None or exit_code <= 0 or seconds > START_SECONDS:
            self._failed_starts = 0
            return
        self._failed_starts += 1
        self._last_status = exit_code
        if self._failed_starts >= MAX_FAILED_STARTS and not watcher.get_active_pids():
            watcher.respawn = False


def install(settings: Settings) -> None:
    """Have BentoML use :class:`Supervisor` in this process, and open the private port.

    Raises:
        SystemExit: the port cannot be had.
    """
    logs.configure(settings.log_format, settings.log_level)
    bentoml_circus.Arbiter = Supervisor  # type: ignore[misc]
    if settings.admin_port is not None:
        os.environ[ADMIN_SOCKET] = str(_listen(settings.admin_host, settings.admin_port))
    if settings.workers > 1:
        os.environ[FOLDER] = _own_folder()


def _own_folder() -> str:
    """A folder that no other user may enter and that is gone when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="modelyard-")
    atexit.register(folder.cleanup)
    return folder.name


def _listen(host: str, port: int) -> int:
    """The number of a socket that listens and that processes which this one starts have too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SystemExit(
            f"modelyard cannot start: MODELYARD_ADMIN_PORT='{port}': cannot listen at {host}: {error.strerror}"
        ) from error
    listener.set_inheritable(True)
    return listener.detach()
