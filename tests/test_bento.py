"""``bentoml build`` packs the service and its models, and nothing of training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT, Serve


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bento that was just built."""
    home = tmp_path_factory.mktemp("bentoml")
    folder = tmp_path_factory.mktemp("bento") / "built"
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(ROOT)]
    built = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    tag = built.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    found: Path = home / "bentos" / Path(*tag.split(":"))
    found.rename(folder)
    return folder


def test_a_bento_holds_the_service_and_its_models_and_no_training_code(bento: Path) -> None:
    files = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    assert {path.partition("/")[0] for path in files} == {"bentofile.yaml", "models", "service"}
    shipped = [*(ROOT / "service").rglob("*.py"), *(ROOT / "models").rglob("*.py"), *(ROOT / "models").rglob("*.onnx")]
    assert {str(path.relative_to(ROOT)) for path in shipped} <= files
    assert [path for path in files if "__pycache__" in path or ".staging-" in path] == []


def test_a_bento_asks_for_exactly_the_locked_dependencies(bento: Path) -> None:
    wanted = (bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    locked = (ROOT / "requirements.txt").read_text().splitlines()
    assert {Requirement(line) for line in wanted if line} == {Requirement(line) for line in locked}


def test_the_service_in_a_bento_starts(bento: Path, serve: Serve) -> None:
    with serve(folder=bento / "src") as url:
        assert url
