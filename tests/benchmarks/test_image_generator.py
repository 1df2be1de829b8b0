import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.servers.picture_model import GAP, PictureModel, encode_by_pillow, make_grid
from benchmarks.workloads.image_generator import CONTENDERS, GRID, make_workloads, open_model
from benchmarks.workloads.workload import Workload
from tests.picture_versions import HEIGHT, KIND, LABELS, WIDTH, add_image_generator, draw_noise, expected_pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    return root / KIND / str(add_image_generator(root).version)


@pytest.fixture(scope="module")
def model(folder: Path) -> PictureModel:
    return open_model(folder)


@pytest.fixture(scope="module")
def workloads(folder: Path) -> dict[str, Workload]:
    return {workload.name: workload for workload in make_workloads(folder, None)}


def test_the_peers_model_makes_what_the_service_has_to(model: PictureModel) -> None:
    images = model.generate(3, LABELS[1], 70)
    for place, pixels in enumerate(images):
        expected = expected_pixels(draw_noise(70 + place), LABELS[1])
        assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_the_steps_of_the_limit_make_the_whole_answer(model: PictureModel) -> None:
    contents = [model.decode(b'{"count": 2, "label": "coat", "seed": %d}' % seed) for seed in (5, 9)]
    images = model.infer(model.stack(contents))
    for content, pixels in zip(contents, (images[:2], images[2:]), strict=True):
        answer = json.loads(model.encode(content, pixels))
        assert [image["seed"] for image in answer["images"]] == [content.seed, content.seed + 1]
        for image, expected in zip(answer["images"], pixels, strict=True):
            assert base64.b64decode(image["png"]).startswith(b"\x89PNG")
            found = cv2.imdecode(np.frombuffer(base64.b64decode(image["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
            assert found is not None
            assert np.array_equal(found, expected[:, :, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_is_as_wide_as_high_and_pillow_writes_it(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, HEIGHT, WIDTH, channels), np.uint8)
    grid = make_grid(images)
    assert grid.shape == (8 * (HEIGHT + GAP) - GAP, 8 * (WIDTH + GAP) - GAP, channels)
    assert np.array_equal(grid[HEIGHT + GAP : 2 * HEIGHT + GAP, :WIDTH], images[8])
    assert encode_by_pillow(grid).startswith(b"\x89PNG")


def test_every_request_has_a_right_answer_of_the_form_that_is_compared(workloads: dict[str, Workload]) -> None:
    for name, workload in workloads.items():
        assert len(workload.expected) == len(workload.bodies["json"])
        answer = workload.example if name == GRID else json.loads(workload.example)
        assert workload.read(answer) == workload.expected[0]
        assert (workload.accept == "image/png") == (name == GRID)


def test_a_grid_is_asked_for_on_the_routes_of_those_that_have_one_for_it(workloads: dict[str, Workload]) -> None:
    routes = {contender.name: contender.routes.get(GRID, contender.route) for contender in CONTENDERS}
    assert routes["modelyard"] == "/generate-image"
    assert routes["bentoml-plain"] == "/generate_grid"
    assert routes["fastapi"] == "/generate-grid"
    assert set(workloads) >= {name for contender in CONTENDERS for name in contender.routes}


def test_workloads_have_names_of_their_own_that_files_can_have(workloads: dict[str, Workload]) -> None:
    slugs = [workload.slug for workload in workloads.values()]
    assert len(set(slugs)) == len(slugs)
    assert all(slug.replace("-", "").isalnum() for slug in slugs)
