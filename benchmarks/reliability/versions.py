"""Further versions of a model that is there: whole ones, and damaged ones."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.manifest import GOLDEN_FILE, GRAPH_FILE, MANIFEST_FILE, digest_file

Damage = Callable[[Path], None]


def copy_version(source: Path, target: Path) -> None:
    """Copy the version ``source`` to ``target``, whose name is its number from then on."""
    shutil.copytree(source, target)
    _edit(target / MANIFEST_FILE, lambda manifest: {**manifest, "version": int(target.name)})


def truncate(folder: Path) -> None:
    """Leave half of the graph."""
    graph = folder / GRAPH_FILE
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def change_byte(folder: Path) -> None:
    """Change one byte in the middle of the graph."""
    content = bytearray((folder / GRAPH_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / GRAPH_FILE).write_bytes(content)


def change_shape(folder: Path) -> None:
    """Let the manifest say that the last output has one more number in a row than the graph gives."""

    def edit(manifest: dict[str, Any]) -> dict[str, Any]:
        shape = manifest["outputs"][-1]["shape"]
        shape.append(shape.pop() + 1)
        return manifest

    _edit(folder / MANIFEST_FILE, edit)


def change_golden(folder: Path) -> None:
    """Expect other numbers of the first golden example, with a digest that fits, as nobody does by accident."""

    def edit(golden: dict[str, Any]) -> dict[str, Any]:
        golden["examples"][0]["predictions"][0] = _shift(golden["examples"][0]["predictions"][0])
        return golden

    _edit(folder / GOLDEN_FILE, edit)
    digest = digest_file(folder / GOLDEN_FILE)
    _edit(folder / MANIFEST_FILE, lambda manifest: {**manifest, "files": {**manifest["files"], GOLDEN_FILE: digest}})


def halve(folder: Path) -> None:
    """Leave some of the files, as a copy that is under way or broke off: the manifest comes last."""
    (folder / MANIFEST_FILE).unlink()
    (folder / GOLDEN_FILE).unlink()


DAMAGES: Mapping[str, Damage] = {
    "truncated file": truncate,
    "wrong hash": change_byte,
    "wrong shapes": change_shape,
    "golden mismatch": change_golden,
    "half-copied folder": halve,
}


def _shift(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shift(entry) for name, entry in value.items()}
    return value + 0.25 if isinstance(value, float) else value


def _edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
