"""The service runs on its declared dependencies alone."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT, Serve


def base_distributions() -> dict[str, importlib.metadata.Distribution]:
    """The installed distributions that the base install brings, dependencies of dependencies included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(str(requirement))
        distribution = importlib.metadata.distribution(requirement.name)
        found[canonicalize_name(requirement.name)] = distribution
        for text in distribution.requires or []:
            child = Requirement(text)
            extras = requirement.extras or {""}
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                child.marker = None
                waiting.append(child)
    return found


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds what the base install brings and nothing else, as links to it."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site_packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for distribution in base_distributions().values():
        for file in distribution.files or []:
            if ".." not in file.parts:
                link = site_packages / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(file.locate())).resolve())
    return folder / "bin" / "python"


def test_the_service_answers_where_only_the_base_dependencies_are_installed(base_python: Path, serve: Serve) -> None:
    for absent in ("torch", "onnx", "sklearn", "matplotlib"):
        missing = subprocess.run([str(base_python), "-c", f"import {absent}"], capture_output=True, check=False)
        assert b"ModuleNotFoundError" in missing.stderr
    with serve(python=base_python) as url:
        image = (ROOT / "tests" / "samples" / "images" / "cat.jpg").read_bytes()
        response = httpx.post(f"{url}/classify", content=image, headers={"Content-Type": "image/jpeg"})
    assert response.status_code == 200
    assert response.json()["predictions"]


def test_traces_ask_for_what_sends_them_where_it_is_not_installed(base_python: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    command = [str(base_python), "-m", "service.preflight"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = (
        "modelyard cannot start: OTEL_EXPORTER_OTLP_ENDPOINT: traces need the extra: pip install 'modelyard[traces]'"
    )
    assert done.stderr.splitlines()[-1] == expected
    unwanted = {**environment, "OTEL_SDK_DISABLED": "true"}
    assert subprocess.run(command, cwd=ROOT, env=unwanted, capture_output=True, check=False).returncode == 0


def test_make_names_every_target_in_its_help() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("serve", "train", "test", "check", "format", "benchmark", "image", "lock"):
        assert f"make {target} " in shown
