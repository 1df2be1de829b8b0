import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.process import Server

if sys.platform != "linux":
    pytest.skip("the benchmark reads /proc", allow_module_level=True)

CHILD = "while True: pass"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{CHILD}']).wait()"


def test_a_server_s_children_are_pinned_counted_and_stopped_with_it(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with Server([sys.executable, "-c", PARENT], {}, core, tmp_path / "log") as server:
        deadline = time.monotonic() + 30
        while server.cpu_seconds() < 0.3 and time.monotonic() < deadline:
            time.sleep(0.05)
        parent, child = server.pids()
        assert os.sched_getaffinity(child) == {core}
        assert server.cpu_seconds() >= 0.3
        assert server.resident_bytes() > 1e6
    for pid in (parent, child):
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]


def test_a_server_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        Server(command, {}, min(os.sched_getaffinity(0)), tmp_path / "log") as server,
        pytest.raises(RuntimeError, match="ended with status 1:\nno such model"),
    ):
        server.wait(lambda: False)
