"""The load: wrk on a core of its own, in a closed loop over keep-alive connections."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "post.lua"


@dataclass(frozen=True)
class Load:
    """What wrk counted. ``errors`` are answers other than 2xx and 3xx, time-outs and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


def require_wrk() -> None:
    """Check that wrk is there.

    Raises:
        RuntimeError: it is not.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not installed: 'apt-get install wrk', 'brew install wrk', or github.com/wg/wrk")


def run_load(
    url: str, bodies: Path, content_type: str, accept: str | None, connections: int, seconds: int, core: int
) -> Load:
    """Post the files of ``bodies`` in turn for ``seconds``, each connection waiting for its answer."""
    command = ["taskset", "--cpu-list", str(core), "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(SCRIPT), url, "--"]
    command += [str(bodies), str(len(list(bodies.iterdir()))), content_type, *([accept] if accept is not None else [])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(**json.loads(output.splitlines()[-1]))
