"""The table of the shipped models in ``models/README.md``, made from their manifests.

python -m models.table    writes it anew
"""

from pathlib import Path

from models.errors import RepositoryError
from models.manifest import GRAPH_FILE, Manifest
from models.repository import Repository

ROOT = Path(__file__).resolve().parent
README = ROOT / "README.md"
BEGIN = "<!-- begin: python -m models.table -->"
END = "<!-- end -->"
HEADER = (
    "kind",
    "version",
    "architecture",
    "parameters",
    "graph",
    "trained on",
    "measured on the test split",
    "training",
)


def make_table(repository: Repository) -> str:
    """A Markdown table with a row for each version of each kind, the newest of a kind first.

    The quality that it shows is the first of the manifest's metrics, by convention the one that counts most.

    Raises:
        ModelError: a version is not as its manifest says.
    """
    rows = [
        _row(repository, repository.load(kind, version))
        for kind in repository.kinds()
        for version in reversed(repository.versions(kind))
    ]
    if not rows:
        return "No model is shipped yet."
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_table(text: str, table: str) -> str:
    """``text`` with ``table`` between its two marks.

    Raises:
        RepositoryError: a mark is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RepositoryError(f"{README}: no table to replace, expected the marks '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _row(repository: Repository, manifest: Manifest) -> tuple[str, ...]:
    folder = f"{manifest.kind}/{manifest.version}"
    graph_bytes = (repository.folder(manifest.kind, manifest.version) / GRAPH_FILE).stat().st_size
    provenance = manifest.provenance
    return (
        f"`{manifest.kind}`",
        f"[{manifest.version}]({folder}/card.md)",
        f"`{manifest.architecture}`",
        f"{manifest.parameters:,}",
        f"{graph_bytes / 1e6:.1f} MB",
        f"`{provenance.data.name}`, {provenance.data.train_examples:,} examples",
        _quality(manifest),
        f"{provenance.training_seconds / 60:.0f} minutes on {provenance.hardware}",
    )


def _quality(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "nothing"
    name, value = next(iter(manifest.metrics.items()))
    return f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"


if __name__ == "__main__":
    README.write_text(replace_table(README.read_text(encoding="utf-8"), make_table(Repository(ROOT))), encoding="utf-8")
