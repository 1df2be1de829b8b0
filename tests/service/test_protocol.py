"""HTTP itself, on bare connections: what a client sees whose requests are odd, and what of those that are none."""

import json

import pytest

from service.protocol import join_head
from tests.service.clients import connect
from tests.service.test_classify import PNG

POST = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: %d\r\n" % len(PNG)


def talk(server: str, *sent: bytes) -> bytes:
    """Everything that the server answers until it closes the connection."""
    with connect(server, timeout_seconds=20) as connection:
        for part in sent:
            connection.sendall(part)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    return answer


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno header\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_a_problem(server: str, request_: bytes) -> None:
    head, _, content = talk(server, request_).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 400 bad request"
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    assert f"content-length: {len(content)}" in lines
    problem = json.loads(content)
    assert (problem["status"], problem["title"]) == (400, "Bad Request")
    assert problem["detail"] == "the request is not HTTP/1.1"
    assert f"x-request-id: {problem['request_id']}" in lines


def test_requests_that_do_not_wait_for_their_answers_get_them_in_order(server: str) -> None:
    requests = [b"GET /livez HTTP/1.1\r\nhost: x\r\nx-request-id: id-%d\r\n\r\n" % number for number in range(20)]
    requests[10] = POST + b"x-request-id: id-10\r\n\r\n" + PNG
    requests[19] = requests[19][:-2] + b"connection: close\r\n\r\n"
    answers = talk(server, b"".join(requests)).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert len(answers) == 20
    for number, answer in enumerate(answers):
        assert b"\r\nx-request-id: id-%d\r\n" % number in answer
        assert (b'"predictions"' in answer) == (number == 10)


def test_a_body_may_come_in_any_pieces(server: str) -> None:
    head = POST + b"x-request-id: same\r\nconnection: close\r\n\r\n"
    chunked = head.replace(b"content-length: %d" % len(PNG), b"transfer-encoding: chunked")
    middle = len(PNG) // 2
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (PNG[:middle], PNG[middle:], b"")]
    ways = [(head + PNG,), (head, PNG), (head + PNG[:middle], PNG[middle:]), (chunked + b"".join(chunks),)]
    ways.append((chunked, *chunks))
    contents = {talk(server, *parts).partition(b"\r\n\r\n")[2] for parts in ways}
    assert len(contents) == 1
    assert b'"predictions"' in contents.pop()


def test_a_client_that_asks_whether_to_send_its_body_is_told(server: str) -> None:
    answer = talk(server, POST + b"connection: close\r\nexpect: 100-continue\r\n\r\n", PNG)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_connection_ends_where_its_client_says_so(server: str) -> None:
    for request in (b"GET /livez HTTP/1.0\r\n\r\n", b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"):
        head, _, content = talk(server, request).partition(b"\r\n\r\n")
        assert b"connection: close" in head
        assert content == b"live\n"


def test_an_answer_to_head_has_its_length_and_no_content(server: str) -> None:
    head, _, content = talk(server, b"HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").partition(
        b"\r\n\r\n"
    )
    assert b"content-length: 5" in head
    assert content == b""


def test_no_header_ends_its_line() -> None:
    assert join_head(200, [(b"a", b"b")]) == b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"
    for value in (b"b\r\nc: d", b"b\nc: d", b"b\r"):
        with pytest.raises(ValueError, match="expected no line break"):
            join_head(200, [(b"a", value)])
