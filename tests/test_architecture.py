"""The rules of the layout: who may import whom, every kind on all sides, honest names, a lock without addresses."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from models.repository import Repository

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
KINDS = sorted(path.name for path in (ROOT / "training").iterdir() if path.is_dir() and path.name[0] not in "._")


def imported_modules(path: Path) -> set[str]:
    """The top-level names of all modules that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            modules.add(str(node.module))
    return {module.partition(".")[0] for module in modules}


def imports_of(package: str) -> dict[str, set[str]]:
    """What each file of a package imports beyond the standard library and itself."""
    known = {package, *sys.stdlib_module_names}
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package}/ holds no Python"
    return {str(path.relative_to(ROOT)): imported_modules(path) - known for path in files}


def modules_of(requirements: list[str]) -> set[str]:
    """The top-level modules that the named distributions install."""
    names = {canonicalize_name(Requirement(requirement).name) for requirement in requirements}
    return {
        module
        for module, distributions in packages_distributions().items()
        if names & {canonicalize_name(distribution) for distribution in distributions}
    }


SERVICE_MODULES = modules_of(PROJECT["dependencies"])
GRPC_MODULES = SERVICE_MODULES | modules_of(PROJECT["optional-dependencies"]["grpc"])
TRAINING_MODULES = SERVICE_MODULES | modules_of(PROJECT["optional-dependencies"]["train"])


@pytest.mark.parametrize(("path", "modules"), imports_of("service").items())
def test_the_service_imports_models_and_its_own_declared_dependencies_alone(path: str, modules: set[str]) -> None:
    allowed = GRPC_MODULES if path.startswith("service/grpc/") else SERVICE_MODULES
    assert modules <= allowed | {"models"}


@pytest.mark.parametrize(("path", "modules"), imports_of("training").items())
def test_training_imports_models_and_its_declared_dependencies_but_no_server(path: str, modules: set[str]) -> None:
    assert modules <= (TRAINING_MODULES | {"models"}) - {"bentoml", "starlette", "uvicorn"}


@pytest.mark.parametrize(("path", "modules"), imports_of("models").items())
def test_models_imports_neither_half_and_no_runtime(path: str, modules: set[str]) -> None:
    assert modules <= SERVICE_MODULES - {"bentoml", "onnxruntime", "starlette", "uvicorn"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_present_on_all_sides(kind: str) -> None:
    for name in ("data.py", "model.py", "train.py"):
        assert (ROOT / "training" / kind / name).is_file()
    assert (ROOT / "service" / "kinds" / f"{kind}.py").is_file()
    assert Repository(ROOT / "models").versions(kind)
    for half in ("training", "service"):
        assert [path for path in (ROOT / "tests" / half).rglob("test_*.py") if kind in str(path.relative_to(ROOT))]
    assert kind in (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_side_holds_a_kind_that_training_does_not() -> None:
    served = {path.stem for path in (ROOT / "service" / "kinds").glob("*.py")} - {"__init__"}
    assert served == set(KINDS)
    assert set(Repository(ROOT / "models").kinds()) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_served_by_the_same_four_names(kind: str) -> None:
    tree = ast.parse((ROOT / "service" / "kinds" / f"{kind}.py").read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {"Request", "Response"} <= classes
    assert [name for name in functions if name in ("preprocess", "postprocess")] == ["preprocess", "postprocess"]


def tracked_files() -> list[Path]:
    """The files that git tracks, without pictures, models and other data."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def test_no_file_is_named_for_nothing_in_particular() -> None:
    vague = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}
    assert [path for path in tracked_files() if vague & set(path.relative_to(ROOT).with_suffix("").parts)] == []


def test_the_locks_and_the_code_name_no_package_index() -> None:
    hosts = re.compile(r"\b(pypi|pythonhosted|npmjs|deb\.debian)\.(org|com)\b")
    assert [path for path in tracked_files() if hosts.search(path.read_text(encoding="utf-8"))] == []
    for name in ("constraints.txt", "requirements.txt"):
        lines = (ROOT / name).read_text().splitlines()
        assert [line for line in lines if line.startswith("-") or "://" in line] == []


def test_the_service_s_lock_is_a_part_of_the_whole_lock() -> None:
    whole = set((ROOT / "constraints.txt").read_text().splitlines())
    part = (ROOT / "requirements.txt").read_text().splitlines()
    pins = {line.partition(" ;")[0] for line in whole}
    assert {line.partition(" ;")[0] for line in part} <= pins


def test_every_declared_dependency_is_pinned_by_the_lock() -> None:
    declared = [
        *PROJECT["dependencies"],
        *(name for extra in PROJECT["optional-dependencies"].values() for name in extra),
    ]
    locked = [line.partition(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = {f"{canonicalize_name(Requirement(name).name)}{Requirement(name).specifier}" for name in declared}
    assert pins <= set(locked)
