"""The versions of models on disk: ``<root>/<kind>/<version>/``, whole or not there at all."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from models.errors import RepositoryError
from models.manifest import Manifest, digest_files, load_golden, load_manifest, save_manifest, verify_files

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_STAGING_PREFIX = ".staging-"


class Repository:
    """A folder of models. Versions are added by one rename and never changed afterwards."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def kinds(self) -> list[str]:
        """The kinds that have at least one version, in order of name.

        Raises:
            RepositoryError: the root cannot be read.
        """
        try:
            names = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        except OSError as error:
            raise RepositoryError(f"{self.root}: cannot be read: {error.strerror}") from error
        return [name for name in names if self.versions(name)]

    def versions(self, kind: str) -> list[int]:
        """The versions of ``kind``, oldest first; folders whose name is no version number do not count."""
        folder = self.root / kind
        if not folder.is_dir():
            return []
        return sorted(int(path.name) for path in folder.iterdir() if _VERSION.fullmatch(path.name))

    def newest(self, kind: str) -> int:
        """The newest version of ``kind``.

        Raises:
            RepositoryError: there is none.
        """
        versions = self.versions(kind)
        if not versions:
            raise RepositoryError(f"{self.root / kind}: holds no version, expected a folder with a number as its name")
        return versions[-1]

    def folder(self, kind: str, version: int) -> Path:
        """Where the files of a version stand."""
        return self.root / kind / str(version)

    def load(self, kind: str, version: int) -> Manifest:
        """The manifest of a version whose files are all there and unchanged.

        Raises:
            ModelError: anything about the version is not as it should be.
        """
        folder = self.folder(kind, version)
        manifest = load_manifest(folder)
        verify_files(folder, manifest)
        return manifest

    def add(self, kind: str, write: Callable[[Path, int], Manifest]) -> Manifest:
        """Add the next version of ``kind``.

        ``write`` is given an empty folder and the version's number; it writes the files there and
        returns the manifest, whose ``files`` are filled in here. The folder becomes a version by
        one rename, after everything in it was read back, checked and flushed to disk. If anything
        fails before that, the folder is removed and the error raised: a version is whole or not there. A process that
        is killed meanwhile leaves a folder behind whose name begins with ``.staging-``; it is no version, and may be
        deleted.

        Returns:
            The manifest as it was saved.
        """
        parent = self.root / kind
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=parent) as staging:
            version = max(self.versions(kind), default=0) + 1
            folder = Path(staging) / kind / str(version)
            folder.mkdir(parents=True)
            manifest = write(folder, version).model_copy(update={"files": digest_files(folder)})
            save_manifest(folder, manifest)
            saved = load_manifest(folder)
            verify_files(folder, saved)
            load_golden(folder)
            _flush(folder)
            try:
                folder.rename(parent / str(version))
            except OSError as error:
                raise RepositoryError(f"{parent / str(version)}: cannot be added: {error.strerror}") from error
        _flush_folder(parent)
        return saved


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
