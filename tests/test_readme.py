"""What the README tells a reader to run does run, against a real server with the shipped models."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT, Serve

ADDRESS = re.compile(r"\b(localhost|127\.0\.0\.1):3000\b")
FENCE = re.compile(r"(?:<!-- not run: (?P<reason>[^>]*?) -->\n+)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block of code, and why it is not run, if it is not."""

    line: int
    language: str
    code: str
    reason: str | None


def blocks() -> list[Block]:
    """The bash and Python blocks of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [
        Block(text.count("\n", 0, match.start("code")), match["language"], match["code"], match["reason"])
        for match in FENCE.finditer(text)
    ]
    return [block for block in found if block.language in ("bash", "python")]


@pytest.fixture(scope="module")
def address(serve: Serve) -> Iterator[str]:
    """The host and port of a service with the shipped models."""
    with serve() as url:
        yield url.removeprefix("http://")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The repository as links, so that what a block writes does not land in it."""
    for path in ROOT.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=f"line-{block.line}") for block in blocks() if not block.reason]
)
def test_a_block_of_the_readme_runs(block: Block, address: str, folder: Path) -> None:
    code = ADDRESS.sub(address, block.code)
    commands = {"bash": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        commands[block.language],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    # curl ends with 0 whatever the status.
    assert '"status":4' not in done.stdout.replace(" ", ""), done.stdout
    assert '"status":5' not in done.stdout.replace(" ", ""), done.stdout


def test_every_block_that_is_not_run_says_why() -> None:
    assert blocks()
    assert [block for block in blocks() if block.reason is not None and len(block.reason.split()) < 3] == []
