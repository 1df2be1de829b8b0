"""What a client of /classify can rely on: every form of body, and every way to fail."""

import base64
import re
import time
from typing import Any

import httpx
import pytest

from service.kinds.image_classifier import Response
from tests.service.clients import connect
from tests.versions import encode, expected_probabilities, plain_picture

RED, GREEN, BLUE = (250, 10, 20), (5, 240, 30), (0, 30, 220)
PNG = encode(plain_picture(RED))


def check_prediction(prediction: dict[str, Any], colour: tuple[int, int, int], tolerance: float = 1e-5) -> None:
    expected = dict(zip(("red", "green", "blue"), expected_probabilities(colour), strict=True))
    found = {entry["label"]: entry["probability"] for entry in prediction["top"]}
    assert found == pytest.approx({label: expected[label] for label in found}, abs=tolerance)
    assert prediction["label"] == max(expected, key=expected.__getitem__)
    assert prediction["probability"] == found[prediction["label"]]
    assert [entry["label"] for entry in prediction["top"]] == sorted(found, key=found.__getitem__, reverse=True)


def check_problem(answer: httpx.Response, status: int, detail: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) <= {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert re.search(detail, problem["detail"]), problem["detail"]
    for fragment in ("Traceback", "/work", "site-packages", ".py"):
        assert fragment not in answer.text
    return problem


def post(
    client: httpx.Client, content: bytes, content_type: str | None = "image/png", query: str = ""
) -> httpx.Response:
    headers = {"content-type": content_type} if content_type is not None else {}
    return client.post(f"/classify{query}", content=content, headers=headers)


def post_json(client: httpx.Client, content: object) -> httpx.Response:
    return client.post("/classify", json=content)


@pytest.mark.parametrize(
    ("format_name", "content_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("GIF", "image/gif"),
        ("PNG", "application/octet-stream"),
        ("PNG", "IMAGE/PNG"),
        ("PNG", "image/png; charset=binary"),
        ("JPEG", "image/png"),
        ("PNG", None),
    ],
)
def test_an_image_may_be_the_body(client: httpx.Client, format_name: str, content_type: str | None) -> None:
    answer = post(client, encode(plain_picture(GREEN), format_name), content_type)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert (content["model"], content["version"]) == ("image_classifier", "1")
    assert len(content["predictions"]) == 1
    check_prediction(content["predictions"][0], GREEN, tolerance=0.02)
    Response.model_validate(content, strict=True)


def test_images_may_be_parts_of_a_form_and_are_answered_in_order(client: httpx.Client) -> None:
    colours = (RED, BLUE, GREEN)
    parts = [("image", ("a.png", encode(plain_picture(colour)), "image/png")) for colour in colours]
    predictions = client.post("/classify", files=parts).json()["predictions"]
    for prediction, colour in zip(predictions, colours, strict=True):
        check_prediction(prediction, colour)


def test_a_part_needs_no_file_name(client: httpx.Client) -> None:
    body = b'--x\r\ncontent-disposition: form-data; name="image"\r\n\r\n' + PNG + b"\r\n--x--\r\n"
    answer = post(client, body, "multipart/form-data; boundary=x")
    check_prediction(answer.json()["predictions"][0], RED)


def test_images_may_be_base64_in_json_and_are_answered_in_order(client: httpx.Client) -> None:
    colours = (BLUE, RED)
    images = [base64.b64encode(encode(plain_picture(colour))).decode() for colour in colours]
    predictions = post_json(client, {"images": images}).json()["predictions"]
    for prediction, colour in zip(predictions, colours, strict=True):
        check_prediction(prediction, colour)


def test_a_large_image_is_answered_too(client: httpx.Client) -> None:
    answer = post(client, encode(plain_picture(BLUE, (900, 900))))
    check_prediction(answer.json()["predictions"][0], BLUE)


def test_top_k_says_how_many_labels_are_named(client: httpx.Client) -> None:
    assert [len(post(client, PNG, query=f"?top_k={k}").json()["predictions"][0]["top"]) for k in (1, 2, 3)] == [1, 2, 3]
    assert len(post(client, PNG).json()["predictions"][0]["top"]) == 3


def test_the_loaded_version_may_be_asked_for(client: httpx.Client) -> None:
    assert post(client, PNG, query="?version=1").status_code == 200
    check_problem(post(client, PNG, query="?version=2"), 404, "version 2 of image_classifier is not loaded, expected 1")


@pytest.mark.parametrize("content", [b"", b"{", b"nonsense", b"{'images': []}", b'{"images": [', b"\xff", b"[" * 5000])
def test_a_body_that_is_not_json_is_refused(client: httpx.Client, content: bytes) -> None:
    check_problem(post(client, content, "application/json"), 400, "the body is not JSON")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"--x\r\n",
        b'--x\r\ncontent-disposition: form-data; name="image"\r\n\r\nabc',
        b'--x\r\ncontent-disposition: form-data; name="image"\r\n\r\nabc\r\n--x',
        b"--x\r\n" + b"header: " + b"a" * 100_000 + b"\r\n\r\nabc\r\n--x--\r\n",
    ],
)
def test_a_body_that_is_not_multipart_is_refused(client: httpx.Client, content: bytes) -> None:
    check_problem(post(client, content, "multipart/form-data; boundary=x"), 400, "the body is not multipart/form-data")


@pytest.mark.parametrize("parameters", ["", "; boundary=", "; boundary=" + "x" * 300, "; charset=utf-8"])
def test_multipart_needs_a_sane_boundary(client: httpx.Client, parameters: str) -> None:
    check_problem(post(client, b"--x--\r\n", "multipart/form-data" + parameters), 400, "multipart/form-data")


@pytest.mark.parametrize(
    ("content", "location", "message"),
    [
        ({}, "images", "missing"),
        ({"images": []}, "images", "at least 1 item"),
        ({"images": None}, "images", "valid array"),
        ({"images": "aGVsbG8="}, "images", "valid array"),
        ({"images": [1]}, "images[0]", "1 should be a string of base64"),
        ({"images": ["aGVsbG8=", None]}, "images[1]", "null should be a string of base64"),
        ({"images": ["%%%"]}, "images[0]", "is not base64"),
        ({"images": ["aGVsbG8"]}, "images[0]", "is not base64"),
        ({"images": ["é"]}, "images[0]", "is not base64"),
        ({"images": ["aGVsbG8="]}, "images[0]", "expected a PNG, JPEG, WebP, BMP or GIF file"),
        ({"images": [""]}, "images[0]", "expected a PNG, JPEG, WebP, BMP or GIF file"),
        ({"images": [base64.b64encode(PNG).decode()] * 9}, "images", "9 images, expected 1 to 8"),
        ({"images": [], "top_k": 3}, "top_k", "unknown"),
        ([], "body", "object"),
        ("images", "body", "object"),
    ],
)
def test_json_that_asks_for_nothing_sensible_is_refused_by_name(
    client: httpx.Client, content: object, location: str, message: str
) -> None:
    problem = check_problem(post_json(client, content), 422, ".")
    assert any(entry["location"] == location and message in entry["message"] for entry in problem["errors"]), problem


def test_every_broken_image_of_a_request_is_named(client: httpx.Client) -> None:
    images = [PNG, b"junk", PNG, PNG[:-30]]
    answer = post_json(client, {"images": [base64.b64encode(image).decode() for image in images]})
    problem = check_problem(answer, 422, r"images\[1\]: .*; images\[3\]: ")
    assert [entry["location"] for entry in problem["errors"]] == ["images[1]", "images[3]"]


def test_parts_of_another_name_are_refused(client: httpx.Client) -> None:
    answer = client.post("/classify", files=[("image", PNG), ("picture", PNG)])
    check_problem(answer, 422, r"images\[1\]: has the name 'picture', expected 'image'")


def test_too_many_parts_are_refused(client: httpx.Client) -> None:
    check_problem(client.post("/classify", files=[("image", PNG)] * 9), 422, "images: expected at most 8 parts")


def test_a_form_without_parts_is_refused(client: httpx.Client) -> None:
    check_problem(
        post(client, b"--x--\r\n", "multipart/form-data; boundary=x"), 422, "images: 0 images, expected 1 to 8"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a PNG, JPEG, WebP, BMP or GIF file, found nothing"),
        (b"hello", "expected a PNG, JPEG, WebP, BMP or GIF file, found 5 bytes"),
        (b"<svg/>", "expected a PNG, JPEG, WebP, BMP or GIF file"),
        (PNG[:-30], "damaged or truncated PNG"),
        (PNG[:20], "damaged PNG"),
        (encode(plain_picture(RED, (1001, 1000))), "1,001,000 pixels, expected at most 1,000,000"),
    ],
)
def test_what_is_no_image_is_refused(client: httpx.Client, content: bytes, message: str) -> None:
    problem = check_problem(post(client, content), 422, re.escape(message))
    assert problem["errors"][0]["location"] == "images[0]"


@pytest.mark.parametrize(
    ("query", "location", "message"),
    [
        ("?top_k=0", "query.top_k", "greater than or equal to 1"),
        ("?top_k=4", "query.top_k", "4, expected 1 to 3"),
        ("?top_k=many", "query.top_k", "valid integer"),
        ("?top_k=", "query.top_k", "valid integer"),
        ("?top_k=1.5", "query.top_k", "valid integer"),
        ("?top_k=" + "9" * 5000, "query.top_k", "maximum size"),
        ("?top_k=1&top_k=2", "query", "more than once"),
        ("?topk=1", "query.topk", "unknown"),
        ("?version=0", "query.version", "greater than or equal to 1"),
        ("?version=x", "query.version", "valid integer"),
        ("?%ff%fe=%00", "query", "unknown"),
        ("?" + "&".join(f"a{i}=1" for i in range(40)), "query", "at most 16"),
    ],
)
def test_a_query_that_says_nothing_sensible_is_refused_by_name(
    client: httpx.Client, query: str, location: str, message: str
) -> None:
    problem = check_problem(post(client, PNG, query=query), 422, message)
    assert problem["errors"][0]["location"].startswith(location)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "image/svg+xml", "x" * 5000, "application/pdf"]
)
def test_other_media_types_are_refused(client: httpx.Client, content_type: str) -> None:
    check_problem(post(client, PNG, content_type), 415, "expected one of image/png, image/jpeg")


def test_an_encoded_body_is_refused(client: httpx.Client) -> None:
    answer = client.post("/classify", content=PNG, headers={"content-type": "image/png", "content-encoding": "gzip"})
    check_problem(answer, 415, "Content-Encoding")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/classify")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        check_problem(answer, 405, f"/classify takes POST, not {method}")


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(server: str) -> None:
    with connect(server) as connection:
        connection.sendall(
            b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 99999999999\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer
    assert b"99,999,999,999 bytes, expected at most 1,000,000" in answer


def test_a_body_that_is_sent_too_large_is_refused(client: httpx.Client) -> None:
    check_problem(post(client, bytes(1_000_001)), 413, "1,000,001 bytes, expected at most 1,000,000")

    def stream() -> Any:
        for _ in range(40):
            yield bytes(50_000)

    answer = client.post("/classify", content=stream(), headers={"content-type": "image/png"})
    check_problem(answer, 413, "more than the 1,000,000 bytes that are taken")


def test_bodies_take_no_more_memory_than_there_is_for_them(client: httpx.Client, server: str) -> None:
    with connect(server) as connection:
        head = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 900000\r\n\r\n"
        connection.sendall(head + bytes(100_000))
        wait_for_status(client, bytes(700_000), 503)
        answer = post(client, bytes(700_000))
        check_problem(answer, 503, "over capacity: too many bodies are being read")
        assert answer.headers["retry-after"] == "1"
        assert post(client, PNG).status_code == 200
    wait_for_status(client, bytes(700_000), 422)


def wait_for_status(client: httpx.Client, content: bytes, status: int) -> None:
    deadline = time.monotonic() + 10
    while post(client, content).status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_request_keeps_its_sane_id(client: httpx.Client) -> None:
    headers = {"content-type": "image/png", "x-request-id": "a.B-9_" * 20}
    assert client.post("/classify", content=PNG, headers=headers).headers["x-request-id"] == "a.B-9_" * 20


@pytest.mark.parametrize("request_id", ["", "a" * 129, "a b", "a\tb", "ü", '"', "a;b"])
def test_an_id_that_is_not_sane_is_replaced(client: httpx.Client, request_id: str) -> None:
    headers = {b"content-type": b"image/png", b"x-request-id": request_id.encode()}
    found = client.post("/classify", content=PNG, headers=headers).headers["x-request-id"]
    assert found != request_id
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", found)
