"""The stages of the image classifier, each by itself."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import ManifestError
from models.manifest import Manifest
from service.kinds.image_classifier import Query, load, postprocess
from tests.versions import make_manifest


def manifest_of(classes: int) -> Manifest:
    manifest = make_manifest(1, tuple(f"label {number}" for number in range(classes)))
    outputs = (manifest.outputs[0].model_copy(update={"shape": ("batch", classes)}),)
    return manifest.model_copy(update={"outputs": outputs})


@pytest.mark.parametrize("classes", [2, 10, 63, 64, 1000])
@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_the_most_probable_labels_are_named_in_order(classes: int, top_k: int | None) -> None:
    probabilities = np.random.default_rng(classes).dirichlet(np.ones(classes)).astype(np.float32)
    prediction = postprocess((probabilities,), None, Query(top_k=top_k), manifest_of(classes))
    ranked = np.argsort(-probabilities)[: top_k or min(5, classes)]
    expected = [{"label": f"label {i}", "probability": float(probabilities[i])} for i in ranked]
    assert prediction == {**expected[0], "top": expected}


@pytest.mark.parametrize("classes", [10, 100])
def test_of_equal_probabilities_the_first_label_is_named_first(classes: int) -> None:
    probabilities = np.full(classes, 1 / classes, np.float32)
    top = postprocess((probabilities,), None, Query(top_k=3), manifest_of(classes))["top"]
    labels = [entry["label"] for entry in top]  # type: ignore[attr-defined]
    assert labels == sorted(labels, key=lambda label: int(label.split()[1]))


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("only",)},
        {"inputs": ()},
        {"outputs": ()},
    ],
)
def test_a_manifest_of_another_kind_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json: (inputs|outputs): "):
        load(Path(), manifest_of(10).model_copy(update=change))


def test_a_manifest_of_this_kind_is_taken() -> None:
    manifest = manifest_of(10)
    assert load(Path(), manifest) is manifest
