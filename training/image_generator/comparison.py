"""What each remedy against instability and mode collapse is worth: manifests of trainings that differ in it alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.manifest import Manifest
from training.sections import make_table

RESULTS = Path(__file__).parent / "results"
# Where the reference of the table stands: what the others change is named by how their settings differ from its.
REFERENCE = "reference"
# What differs between machines, or says where data stood.
IGNORED = ("data", "seed", "precision")
HEADER = ("training", "recognised", "score of a classifier", "coverage", "density", "Fréchet distance", "missing")


def load_results(folder: Path = RESULTS) -> dict[str, Manifest]:
    """The manifests that were kept of trainings, by name, the reference first."""
    paths = sorted(folder.glob("*.json"), key=lambda path: (path.stem != REFERENCE, path.stem))
    return {path.stem: Manifest.model_validate_json(path.read_bytes()) for path in paths}


def compare(results: Mapping[str, Manifest]) -> str:
    """A Markdown table with a row for each training; nothing where there is no reference."""
    if REFERENCE not in results:
        return ""
    reference = results[REFERENCE].provenance.settings
    rows = [_row(_describe(manifest.provenance.settings, reference), manifest) for manifest in results.values()]
    return make_table(HEADER, rows)


def _describe(settings: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    changed = [
        f"{name} = {value}" for name, value in settings.items() if name not in IGNORED and value != reference.get(name)
    ]
    return ", ".join(changed) or "reference"


def _row(name: str, manifest: Manifest) -> Sequence[str]:
    metrics: Mapping[str, Any] = manifest.metrics
    return (
        name,
        f"{metrics['conditional_accuracy']:.2%}",
        f"{metrics['classification_accuracy_score']:.2%}",
        f"{metrics['coverage']:.3f}",
        f"{metrics['density']:.3f}",
        f"{metrics['frechet_distance']:.3f} ({metrics['frechet_ratio']:.1f} x)",
        f"{metrics['classes_missing']}",
    )
