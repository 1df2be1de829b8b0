"""A server as a process tree of its own on given cores: started, measured, stopped. Linux."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Server:
    """A running server. Use it as a context manager: leaving stops the whole tree."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], core: int | str, log: Path) -> None:
        """Start ``command``, with ``environment`` added to this process's; it prints to ``log``.

        ``core`` is the one it runs on, or several as taskset lists them.
        """
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        descendants = self.pids()[1:]
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in descendants:
            with contextlib.suppress(ProcessLookupError):  # ended with its parent, as it should
                _kill(pid)

    def wait(self, is_ready: Callable[[], bool], timeout_seconds: float = 90) -> None:
        """Return as soon as ``is_ready`` says so.

        Raises:
            RuntimeError: the server ended or took too long; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with status {self.process.returncode}:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server is not ready after {timeout_seconds} seconds:\n{self._log_end()}")
            time.sleep(0.1)

    def cpu_seconds(self) -> float:
        """The user and system time that the tree has used."""
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def resident_bytes(self) -> int:
        """The resident memory of the tree; what processes share counts once for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in self.pids())

    def pids(self) -> list[int]:
        """The processes of the tree, parents before their children."""
        pids = [self.process.pid]
        for pid in pids:  # grows while it is read: breadth first
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    pids.extend(int(child) for child in children.read_text().split())
        return pids

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, nor is given to others who ask for any free one within a minute.

    A connection to it was just closed, so the system keeps it, as ``TIME_WAIT``, from all who do not ask for it by its
    number and with ``SO_REUSEADDR``, as servers do.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address):
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first is the one that waits
        return address[1]


def _kill(pid: int) -> None:
    """End a process that is no child of this one, and wait until it has ended."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], 10)
    finally:
        os.close(handle)


def _cpu_seconds(pid: int) -> float:
    # The command's name stands in parentheses and may hold spaces; utime and stime are fields 14 and 15 of proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
