"""The README's table of architectures says what the manifests of these trainings say."""

from pathlib import Path

import pytest

from models.manifest import Manifest

ROOT = Path(__file__).parents[3]
RESULTS = {
    "resnet": ROOT / "models" / "image_classifier" / "1" / "manifest.json",
    "cnn": ROOT / "training" / "image_classifier" / "results" / "cnn.json",
    "mlp": ROOT / "training" / "image_classifier" / "results" / "mlp.json",
}


@pytest.mark.parametrize("architecture", RESULTS)
def test_the_readme_has_the_figures_of_the_manifest(architecture: str) -> None:
    manifest = Manifest.model_validate_json(RESULTS[architecture].read_bytes())
    (row,) = [
        line.split(" | ")
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{architecture}`")
    ]
    seconds = manifest.provenance.training_seconds
    one_pass, six_views = (manifest.metrics[name] for name in ("accuracy", "accuracy_test_time_augmentation"))
    assert manifest.architecture == architecture
    assert row[2:5] == [
        f"{manifest.parameters:,}",
        f"{one_pass:.2%}".replace("%", " %"),
        f"{six_views:.2%}".replace("%", " %"),
    ]
    assert row[5] == f"{seconds / 60:.0f} minutes |"
