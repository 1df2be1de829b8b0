"""The README says of these trainings what their manifests say."""

from pathlib import Path

import numpy as np
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
    (command,) = {manifest.provenance.command.partition(" --seed")[0] for manifest in manifests}
    accuracies = np.array(
        [
            [manifest.metrics[name] for name in ("accuracy", "accuracy_test_time_augmentation")]
            for manifest in manifests
        ],
        float,
    )
    one_pass, six_views = 100 * accuracies.mean(0)
    spreads = 100 * accuracies.std(0, ddof=1)
    minutes = np.mean([manifest.provenance.training_seconds for manifest in manifests]) / 60
    assert (
        f"In {minutes:.0f} minutes a `resnet` comes to {one_pass:.2f} % in one pass and {six_views:.2f} % over six "
        f"views (`{command.removeprefix('python -m training image_classifier ')}` on two cores of the AMD EPYC; means "
        f"over seeds 0, 1 and 2, standard deviations {spreads[0]:.2f} and {spreads[1]:.2f})."
    ) in (ROOT / "README.md").read_text(encoding="utf-8")
