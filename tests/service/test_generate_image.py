"""The whole way of images that are made up: which ones, in which form, and at what cost to others."""

import base64
import io
import json
import time
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from tests.picture_versions import HEIGHT, KIND, LABELS, WIDTH, draw_label, draw_noise, expected_pixels
from tests.service.clients import leave_early, resident_bytes, send_at_once

MANY = 1000
MOST = 50_000  # the server's limit
GAP = 2

Record = dict[str, Any]


def make(client: httpx.Client, accept: str = "application/json", **members: object) -> httpx.Response:
    answer = client.post("/generate-image", json=members, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def images_of(answer: httpx.Response) -> list[Record]:
    images: list[Record] = answer.json()["images"]
    return images


def read(file: bytes) -> tuple[NDArray[np.int16], Record]:
    """The pixels, (height, width), and what the file says of itself."""
    with Image.open(io.BytesIO(file)) as picture:
        assert isinstance(picture, PngImagePlugin.PngImageFile)
        assert picture.mode == "L"
        return np.asarray(picture).astype(np.int16), json.loads(picture.text["Comment"])


def read_image(image: Record) -> tuple[NDArray[np.int16], Record]:
    return read(base64.b64decode(image["png"], validate=True))


def check_image(image: Record, seed: int, label: str, truncation: float = 1.0) -> None:
    """The image is the one of ``seed`` and ``label``, and says so."""
    pixels, comment = read_image(image)
    expected = expected_pixels(draw_noise(seed), label, truncation)[:, :, 0]
    assert np.abs(pixels - expected).max() <= 1
    assert {name: image[name] for name in ("seed", "label")} == {"seed": seed, "label": label}
    facts = {"seed": seed, "label": label, "truncation": truncation}
    assert comment == {"synthetic": True, "model": "image_generator", "version": "1", **facts}


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("seed", [0, 7, 2**62])
def test_a_seed_and_those_behind_it_give_their_images(picture_client: httpx.Client, seed: int, count: int) -> None:
    answer = make(picture_client, count=count, seed=seed).json()
    assert (answer["model"], answer["version"], len(answer["images"])) == ("image_generator", "1", count)
    for place, image in enumerate(answer["images"]):
        assert list(image) == ["seed", "label", "png"]
        check_image(image, seed + place, draw_label(seed + place))


@pytest.mark.parametrize("label", LABELS)
def test_the_label_and_the_truncation_are_as_asked(picture_client: httpx.Client, label: str) -> None:
    for truncation in (0.25, 1):
        images = images_of(make(picture_client, count=3, seed=5, label=label, truncation=truncation))
        for place, image in enumerate(images):
            check_image(image, 5 + place, label, truncation)


def test_every_image_can_be_had_alone_by_its_own_seed(picture_client: httpx.Client) -> None:
    for image in images_of(make(picture_client, count=70)):
        alone = make(picture_client, seed=image["seed"])
        assert images_of(alone) == [image]
        as_png = make(picture_client, "image/png", seed=image["seed"], label=image["label"])
        assert as_png.content == base64.b64decode(image["png"])


def test_a_seed_is_drawn_where_none_is_given(picture_client: httpx.Client) -> None:
    seeds = [images_of(make(picture_client))[0]["seed"] for _ in range(3)]
    assert len(set(seeds)) == 3
    answer = make(picture_client, "image/png", count=5)
    seed = int(answer.headers["x-seed"])
    assert make(picture_client, "image/png", count=5, seed=seed).content == answer.content
    assert read(answer.content)[1]["seed"] == seed


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (64, 8, 8), (1000, 32, 32)])
def test_a_grid_has_the_images_row_by_row(picture_client: httpx.Client, count: int, columns: int, rows: int) -> None:
    answer = make(picture_client, "image/png", count=count, seed=3)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-seed"] == "3"
    grid, comment = read(answer.content)
    assert grid.shape == (rows * (HEIGHT + GAP) - GAP, columns * (WIDTH + GAP) - GAP)
    for place, image in enumerate(images_of(make(picture_client, count=count, seed=3))):
        top, left = place // columns * (HEIGHT + GAP), place % columns * (WIDTH + GAP)
        assert np.array_equal(grid[top : top + HEIGHT, left : left + WIDTH], read_image(image)[0])
    common = {"synthetic": True, "model": "image_generator", "version": "1", "seed": 3, "truncation": 1.0}
    several = {"label": None, "count": count}
    assert comment == common | ({"label": draw_label(3)} if count == 1 else several)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/png, */*", "image/png"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("*/*", "application/json"),
        ("image/jpeg", "application/json"),
        ("image/png;q=0", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_form_is_the_one_that_is_accepted(picture_client: httpx.Client, accept: str, media_type: str) -> None:
    assert make(picture_client, accept, count=1).headers["content-type"] == media_type


def test_the_way_between_two_seeds_begins_and_ends_at_their_images(picture_client: httpx.Client) -> None:
    way = {"from_seed": 1, "to_seed": 2, "steps": 17}
    images = images_of(make(picture_client, interpolate=way, label="Stövel", truncation=0.5))
    assert [image["seed"] for image in images] == [1, *[None] * 15, 2]
    for image, seed in ((images[0], 1), (images[-1], 2)):
        alone = images_of(make(picture_client, seed=seed, label="Stövel", truncation=0.5))[0]
        assert np.array_equal(read_image(image)[0], read_image(alone)[0])
    pixels = [read_image(image)[0] for image in images]
    assert max(np.abs(one - other).max() for one, other in pairwise(pixels)) < 12
    comment = read_image(images[5])[1]
    assert (comment["seed"], comment["interpolate"], comment["label"]) == (None, way, "Stövel")


def test_the_way_has_the_label_of_the_nearer_end_where_none_is_asked_for(picture_client: httpx.Client) -> None:
    first, last = next((seed, seed + 1) for seed in range(100) if draw_label(seed) != draw_label(seed + 1))
    images = images_of(make(picture_client, interpolate={"from_seed": first, "to_seed": last, "steps": 6}))
    assert [image["label"] for image in images] == [draw_label(first)] * 3 + [draw_label(last)] * 3


def test_a_way_is_a_grid_too(picture_client: httpx.Client) -> None:
    way = {"from_seed": 1, "to_seed": 2, "steps": 9}
    answer = make(picture_client, "image/png", interpolate=way, label="coat")
    grid, comment = read(answer.content)
    assert grid.shape == (3 * (HEIGHT + GAP) - GAP, 3 * (WIDTH + GAP) - GAP)
    assert comment["interpolate"] == way
    assert "x-seed" not in answer.headers


@pytest.mark.parametrize("accept", ["application/json", "image/png"])
@pytest.mark.parametrize(
    ("request_", "location"),
    [
        ({"count": 0}, "count"),
        ({"count": MOST + 1}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": "1"}, "count"),
        ({"count": True}, "count"),
        ({"count": 10**30}, "count"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"label": "Coat"}, "label"),
        ({"label": ""}, "label"),
        ({"label": 0}, "label"),
        ({"truncation": 0}, "truncation"),
        ({"truncation": 1.01}, "truncation"),
        ({"truncation": -0.5}, "truncation"),
        ({"truncation": "1"}, "truncation"),
        ({"truncation": True}, "truncation"),
        ({"truncation": None}, "truncation"),
        ({"size": 1}, "size"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 1}}, "interpolate.steps"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": MOST + 1}}, "interpolate.steps"),
        ({"interpolate": {"from_seed": 1, "steps": 2}}, "interpolate.to_seed"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}, "count": 3}, "interpolate"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}, "seed": 3}, "interpolate"),
        ({"interpolate": {"from_seed": 1, "to_seed": 2, "steps": 3}, "label": "x"}, "label"),
    ],
)
def test_what_cannot_be_made_is_named_with_its_place(
    picture_client: httpx.Client, request_: Record, location: str, accept: str
) -> None:
    answer = picture_client.post("/generate-image", json=request_, headers={"accept": accept})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["location"] == location


def test_a_label_that_there_is_not_is_answered_with_those_that_there_are(picture_client: httpx.Client) -> None:
    answer = picture_client.post("/generate-image", json={"label": "cat"})
    assert answer.json()["detail"] == "label: 'cat' is none of 'coat', 'T-shirt/\"top\"', 'Stövel'"


def test_another_method_type_or_version_is_refused(picture_client: httpx.Client) -> None:
    for method in ("GET", "HEAD", "PUT"):
        answer = picture_client.request(method, "/generate-image")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    answer = picture_client.post("/generate-image", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert picture_client.post("/generate-image?version=2", json={}).status_code == 404
    assert picture_client.post("/generate-image?version=1", json={}).status_code == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.fixed_dictionaries(
        {},
        optional={
            "count": st.integers(-1, 70) | st.none() | st.floats(),
            "label": st.sampled_from(LABELS) | st.text(max_size=80) | st.none() | st.integers(),
            "seed": st.integers() | st.integers(0, 2**63 - 1) | st.none() | st.booleans(),
            "truncation": st.floats() | st.floats(0, 1) | st.text(max_size=3),
            "interpolate": st.none()
            | st.fixed_dictionaries(
                {"from_seed": st.integers(), "to_seed": st.integers(), "steps": st.integers(-1, 70)}
            ),
            "": st.none(),
        },
    ),
    accept=st.sampled_from(["application/json", "image/png"]),
)
def test_no_json_brings_about_a_fault(picture_client: httpx.Client, content: Record, accept: str) -> None:
    answer = picture_client.post("/generate-image", content=json.dumps(content), headers=_headers(accept))
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code == 200:
        assert answer.headers["content-type"] == accept


def _headers(accept: str) -> dict[str, str]:
    return {"content-type": "application/json", "accept": accept}


def test_64_clients_get_exactly_their_own_images(picture_server: str) -> None:
    async def send(client: httpx.AsyncClient, number: int) -> None:
        count = 200 if number % 8 == 0 else 1 + number % 13
        truncation = 1 / (1 + number % 5)
        request = {"count": count, "seed": 1000 * number, "truncation": truncation}
        answer = await client.post("/generate-image", json=request)
        for place, image in enumerate(images_of(answer)):
            seed = 1000 * number + place
            check_image(image, seed, draw_label(seed), truncation)

    send_at_once(picture_server, 64, send)


@pytest.mark.parametrize("accept", ["application/json", "image/png"])
def test_many_images_come_with_flat_memory_while_others_are_answered(
    picture_client: httpx.Client, picture_server: str, accept: str
) -> None:
    for seed in range(3):
        make(picture_client, accept, count=MANY, seed=seed)
    before = resident_bytes(picture_client)
    most, waits = before, []
    with httpx.Client(base_url=picture_server, timeout=60) as other:
        for seed in range(10):
            request = {"count": MANY, "seed": seed}
            with picture_client.stream("POST", "/generate-image", json=request, headers=_headers(accept)) as answer:
                assert "content-length" not in answer.headers
                began = time.perf_counter()
                assert other.post("/generate-image", json={"seed": seed}).status_code == 200
                waits.append(time.perf_counter() - began)
                assert len(answer.read()) > 10 * MANY
            most = max(most, resident_bytes(other))
    assert sorted(waits)[len(waits) // 2] < 0.2
    assert most - before < 4 * 2**20


def test_a_client_that_goes_away_stops_the_work(picture_client: httpx.Client) -> None:
    made = leave_early(picture_client, "/generate-image", {"count": MOST, "seed": 1}, KIND)
    assert 0 < made < MOST
