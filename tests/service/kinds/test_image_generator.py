"""From a request to images, without HTTP: the versions that are taken, the labels, the noise."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import ArtifactError, ManifestError
from models.manifest import TensorSpec
from models.repository import Repository
from service.bodies import Body
from service.config import Settings
from service.errors import UnprocessableError
from service.items import Item
from service.kinds.image_generator import Assets, Facts, Query, describe, load, parse, postprocess, preprocess
from service.metrics import Metrics
from service.runtime import Model
from tests.picture_versions import KIND, LABELS, NOISE, add_image_generator, draw_label, draw_noise
from tests.table_versions import TABLE


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    root = tmp_path_factory.mktemp("models")
    return load(root, add_image_generator(root))


def draw(assets: Assets, content: bytes) -> list[Item]:
    request = parse(Body("application/json", b"application/json", content), Settings())
    return list(preprocess(request, Query(), assets, Settings()))


def test_the_graph_reads_the_noise_of_the_seed_the_label_s_place_and_the_truncation(assets: Assets) -> None:
    items = draw(assets, b'{"count": 3, "seed": 7, "label": "coat", "truncation": 0.5}')
    for place, (row, facts) in enumerate(items):
        z, label, truncation = row
        assert np.array_equal(z, draw_noise(7 + place))
        assert (label.tolist(), str(label.dtype), label.shape) == (0, "int64", ())
        assert (truncation.tolist(), str(truncation.dtype), truncation.shape) == (0.5, "float32", ())
        assert facts == Facts(7 + place, "coat")


def test_a_label_that_is_not_asked_for_is_the_seed_s(assets: Assets) -> None:
    items = draw(assets, b'{"count": 300, "seed": 1000}')
    assert [item.facts.label for item in items] == [draw_label(seed) for seed in range(1000, 1300)]
    assert [LABELS[item.row[1]] for item in items] == [item.facts.label for item in items]
    assert min(Counter(item.facts.label for item in items).values()) > 70


def test_after_the_largest_seed_comes_the_smallest(assets: Assets) -> None:
    items = draw(assets, b'{"count": 3, "seed": %d}' % (2**63 - 2))
    assert [item.facts.seed for item in items] == [2**63 - 2, 2**63 - 1, 0]


def test_as_many_images_as_the_settings_say_are_made(assets: Assets) -> None:
    assert len(draw(assets, b'{"count": 1000}')) == 1000
    with pytest.raises(UnprocessableError, match=r"^count: 1,001, expected at most 1,000$"):
        draw(assets, b'{"count": 1001}')


def test_a_way_has_the_seeds_of_its_ends_and_none_between(assets: Assets) -> None:
    items = draw(assets, b'{"interpolate": {"from_seed": 3, "to_seed": 4, "steps": 4}}')
    assert [item.facts.seed for item in items] == [3, None, None, 4]
    ends = [draw_label(seed) for seed in (3, 4)]
    assert [item.facts.label for item in items] == [ends[0], ends[0], ends[1], ends[1]]
    assert np.array_equal(items[0].row[0], draw_noise(3))
    assert np.array_equal(items[-1].row[0], draw_noise(4))


def test_a_label_that_there_is_not_is_refused_before_anything_is_drawn(assets: Assets) -> None:
    request = parse(Body("application/json", b"application/json", b'{"label": "Coat"}'), Settings())
    with pytest.raises(UnprocessableError, match=r"^label: 'Coat' is none of 'coat', 'T-shirt/\"top\"', 'Stövel'$"):
        preprocess(request, Query(), assets, Settings())


def test_many_labels_and_long_ones_are_not_all_repeated(tmp_path: Path) -> None:
    manifest = add_image_generator(tmp_path).model_copy(update={"labels": tuple(str(place) for place in range(100))})
    request = parse(Body("application/json", b"application/json", b'{"label": "%s"}' % (b"x" * 5000)), Settings())
    with pytest.raises(UnprocessableError, match=r"'9', '10', '11' and 88 more$") as refusal:
        preprocess(request, Query(), load(tmp_path, manifest), Settings())
    assert len(refusal.value.detail) < 250


def test_an_image_is_what_the_graph_gave(assets: Assets) -> None:
    pixels = np.zeros((6, 4, 1), np.uint8)
    image = postprocess((pixels,), Facts(7, "coat"), Query(), assets)
    assert image == {"seed": 7, "label": "coat", "pixels": pixels}
    assert image["pixels"] is pixels


def test_the_description_has_the_labels(tmp_path: Path) -> None:
    assert describe(add_image_generator(tmp_path))["Request"]["label"]["enum"] == [*LABELS, None]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"labels": ()}, "labels"),
        ({"preprocessing": TABLE}, "preprocessing"),
        ({"inputs": ()}, "inputs"),
        ({"outputs": ()}, "outputs"),
        ({"inputs": (TensorSpec(name="z", dtype="float32", shape=("batch", NOISE)),)}, "inputs"),
        ({"inputs": (TensorSpec(name="z", dtype="float32", shape=("batch", "noise")),)}, "inputs"),
        ({"outputs": (TensorSpec(name="images", dtype="uint8", shape=("batch", 4, 6, 1)),)}, "outputs"),
        ({"outputs": (TensorSpec(name="images", dtype="float32", shape=("batch", 6, 4, 1)),)}, "outputs"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    manifest = add_image_generator(tmp_path).model_copy(update=change)
    with pytest.raises(ManifestError, match=rf"^manifest\.json: {field}: "):
        load(tmp_path, manifest)


def load_model(root: Path) -> Model:
    manifest = Repository(root).load(KIND, 1)
    # It prepares nothing in threads.
    preparers: Any = None
    return Model(Repository(root).folder(KIND, 1), manifest, "cpu", Settings(), Metrics(), preparers)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_version_whose_golden_images_are_its_own_is_loaded(tmp_path: Path, channels: Any) -> None:
    add_image_generator(tmp_path, channels, golden_shift=0.005)
    load_model(tmp_path).close()


def test_a_version_whose_golden_images_are_others_is_refused(tmp_path: Path) -> None:
    add_image_generator(tmp_path, golden_shift=0.02)
    with pytest.raises(
        ArtifactError, match=r"examples\[0\]: predictions\[0\]\.pixels\[0\]\[0\]\[0\]: 0\.\d+, expected"
    ):
        load_model(tmp_path)
