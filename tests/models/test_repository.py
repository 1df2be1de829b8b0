"""A version is whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ModelError, RepositoryError
from models.manifest import Manifest
from models.repository import Repository
from tests.versions import KIND, add_version

ROOT = Path(__file__).resolve().parent.parent.parent


def test_versions_count_up_from_one(tmp_path: Path) -> None:
    assert [add_version(tmp_path).version for _ in range(3)] == [1, 2, 3]
    repository = Repository(tmp_path)
    assert repository.kinds() == [KIND]
    assert repository.versions(KIND) == [1, 2, 3]
    assert repository.newest(KIND) == 3


def test_versions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 2):
        (tmp_path / KIND / str(number)).mkdir(parents=True)
    assert Repository(tmp_path).versions(KIND) == [2, 9, 10]


def test_folders_that_are_no_numbers_are_no_versions(tmp_path: Path) -> None:
    for name in ("latest", "01", "0", "-1", "1.5", ".staging-x", "1234567890"):
        (tmp_path / KIND / name).mkdir(parents=True)
    assert Repository(tmp_path).versions(KIND) == []
    assert Repository(tmp_path).kinds() == []


def test_a_kind_without_versions_has_no_newest(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="holds no version"):
        Repository(tmp_path).newest(KIND)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"nowhere: cannot be read: No such file"):
        Repository(tmp_path / "nowhere").kinds()


def test_a_version_loads_as_it_was_added(tmp_path: Path) -> None:
    added = add_version(tmp_path)
    assert Repository(tmp_path).load(KIND, 1) == added


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path, version: int) -> Manifest:
        (folder / "model.onnx").write_bytes(b"half")
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        Repository(tmp_path).add(KIND, write)
    assert list((tmp_path / KIND).iterdir()) == []


def test_what_does_not_pass_its_own_checks_is_not_added(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="labels"):
        add_version(tmp_path, labels=("red", "red", "red"))
    assert Repository(tmp_path).versions(KIND) == []


def test_a_kill_while_writing_leaves_nothing_that_loads(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from models.repository import Repository

def write(folder, version):
    (folder / "model.onnx").write_bytes(b"half")
    (folder / "manifest.json").write_text("{{}}")
    os.kill(os.getpid(), signal.SIGKILL)

Repository(Path({str(tmp_path)!r})).add({KIND!r}, write)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    repository = Repository(tmp_path)
    assert repository.versions(KIND) == []
    assert [path.name.startswith(".staging-") for path in (tmp_path / KIND).iterdir()] == [True]
    assert add_version(tmp_path).version == 1


def test_a_version_is_never_replaced(tmp_path: Path) -> None:
    first = add_version(tmp_path)

    def write(folder: Path, version: int) -> Manifest:
        # Somebody else adds the same version meanwhile.
        add_version(tmp_path)
        for path in (tmp_path / KIND / "1").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return first.model_copy(update={"version": version})

    with pytest.raises(RepositoryError, match="2: cannot be added"):
        Repository(tmp_path).add(KIND, write)
    assert Repository(tmp_path).load(KIND, 2).version == 2
