"""The README says of these trainings what their manifests say."""

from pathlib import Path
from statistics import mean, stdev

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


def test_the_readme_has_the_mean_and_the_spread_of_short_trainings() -> None:
    paths = sorted((ROOT / "training" / "image_classifier" / "results").glob("resnet-short-*.json"))
    manifests = [Manifest.model_validate_json(path.read_bytes()) for path in paths]
    assert [manifest.provenance.seed for manifest in manifests] == [0, 1, 2]
    assert len({manifest.provenance.command.partition(" --seed")[0] for manifest in manifests}) == 1
    one_pass, six_views = (
        [100 * float(str(manifest.metrics[name])) for manifest in manifests]
        for name in ("accuracy", "accuracy_test_time_augmentation")
    )
    minutes = mean(manifest.provenance.training_seconds for manifest in manifests) / 60
    sentence = (
        f"In {minutes:.0f} minutes a `resnet` comes to {mean(one_pass):.2f} % in one pass and {mean(six_views):.2f} % "
        f"over six views"
    )
    spread = f"standard deviations {stdev(one_pass):.2f} and {stdev(six_views):.2f}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sentence in readme
    assert spread in readme
