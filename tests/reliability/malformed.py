"""Requests that are wrong in every way that clients and attackers know, made from good ones by a seed."""

import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.reliability.questions import Question
from tests.versions import encode, plain_picture

_TYPES: Final = (
    *("application/json", "application/json; charset=utf-16", "application/json;charset=\xff", "text/plain", ""),
    *("application/octet-stream", "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "image/svg+xml"),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x; boundary=y"),
    *("application/x-www-form-urlencoded", "application/xml", "*/*", ";", "a" * 4000),
)
_CHARSETS: Final = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037")
# JSON that stands in the place of a value, or of a whole body.
_HOSTILE: Final = (
    *(b"NaN", b"-Infinity", b"Infinity", b"1e999999", b"-1e999999", b"1e-999999", b"9" * 5000, b"-0", b"0x10", b"01"),
    *(b"1" + b"0" * 400 + b".5", b"9223372036854775808", b"-9223372036854775809", b"0." + b"0" * 5000 + b"1"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'{"\\ud800": 1}', b'"\\u0000"', b'"\x00"', b'"\xff\xfe"', b'"\xc0\xaf"'),
    *(b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\\uD83D"', b'"\\u"', b'"\n"', b"'a'", b"", b" ", b"\xef\xbb\xbf1"),
    *(b"[" * 20_000, b"[" * 20_000 + b"]" * 20_000, b'{"a":' * 20_000, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    *(b'{"a":1,"a":2}', b"{}", b"[]", b"[null]", b"null", b"true", b'""', b"[[]]", b"{,}", b"[1,]", b"[1 2]", b"/**/1"),
    *(b'"' + b"a" * 300_000 + b'"', b"[" + b"1," * 50_000 + b"1]", b'{"__proto__":{"a":1}}', b'{"":""}'),
    b"{" + b",".join(b'"k%d":%d' % (number, number) for number in range(20_000)) + b"}",
)


class Attack(NamedTuple):
    """Bytes for one connection, and how it ends.

    A client that ``ends`` says that it will send no more, so that the server need not wait for the rest of a request
    that has none; the service takes it for one that has gone, and may close the connection without an answer.
    """

    name: str
    content: bytes
    ends: bool = False
    waits: bool = True  # for an answer; else the connection is closed, or reset
    resets: bool = False


Way = Callable[[random.Random, Question], Attack]


def write_request(
    path: str, headers: Mapping[str, str], body: bytes, method: str = "POST", length: int | None = None
) -> bytes:
    """A request as it is sent; ``length`` is what it says of its body's length."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def mutate(generator: random.Random, content: bytes) -> bytes:
    """``content`` with some bytes changed, cut out, doubled or put in."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        start = generator.randint(0, len(changed))
        end = min(len(changed), start + generator.choice([0, 1, 2, 4, 40]))
        changed[start:end] = generator.choice(
            [b"", generator.randbytes(generator.randint(1, 40)), changed[start:end] * 2]
        )
    return bytes(changed[: generator.randint(0, len(changed))] if generator.random() < 0.2 else changed)


def send_changed_body(generator: random.Random, question: Question) -> Attack:
    body = mutate(generator, question.body)
    return Attack("changed body", write_request(question.path, question.headers, body))


def send_wrong_type(generator: random.Random, question: Question) -> Attack:
    headers = {**question.headers, "content-type": generator.choice(_TYPES)}
    return Attack("wrong content type", write_request(question.path, headers, question.body))


def send_wrong_charset(generator: random.Random, question: Question) -> Attack:
    charset = generator.choice(_CHARSETS)
    body = question.body.decode("latin-1").encode(charset, "replace")
    headers = {"content-type": f"application/json; charset={charset}"}
    return Attack("wrong charset", write_request(question.path, headers, body))


def send_hostile_json(generator: random.Random, question: Question) -> Attack:
    """Hostile JSON as the body, as a value in a good one, or beside what a good one has."""
    hostile = generator.choice(_HOSTILE)
    headers = {"content-type": "application/json"}
    if question.headers["content-type"] == "application/json" and generator.random() < 0.8:
        content = json.loads(question.body)
        place: Any = content
        while True:  # down to any value
            key = generator.choice(list(place)) if isinstance(place, dict) else generator.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key] or generator.random() < 0.3:
                break
            place = place[key]
        place[key] = "HOSTILE"
        if generator.random() < 0.1:
            content["HOSTILE"] = 1
        hostile = json.dumps(content).encode().replace(b'"HOSTILE"', hostile)
    return Attack("hostile JSON", write_request(question.path, headers, hostile))


def send_changed_picture(generator: random.Random, question: Question) -> Attack:
    """A picture whose bytes or sizes are changed, or that is far larger than its file."""
    width, height = generator.choices([0, 1, 7, 65_535, 2**31 - 1, 2**32 - 1], k=2)
    picture = plain_picture((9, 99, 199), (24, 16))
    format_name = generator.choice(["PNG", "JPEG", "WEBP", "BMP", "GIF"])
    content = encode(picture, format_name)
    match generator.randrange(4):
        case 0:
            content = content.replace(struct.pack(">II", 24, 16), struct.pack(">II", width, height))
            content = content.replace(struct.pack("<HH", 24, 16), struct.pack("<HH", width % 65536, height % 65536))
            content = content.replace(struct.pack(">HH", 16, 24), struct.pack(">HH", height % 65536, width % 65536))
            content = content.replace(struct.pack("<II", 24, 16), struct.pack("<II", width, height))
        case 1:
            content = _write_png(width, height, zlib.compress(bytes(2**20)))
        case _:
            content = mutate(generator, content)
    return Attack("changed picture", write_request("/classify", {"content-type": "image/png"}, content))


def send_changed_form(generator: random.Random, question: Question) -> Attack:
    """A form whose parts, heads or boundaries are not what they should be."""
    picture = encode(plain_picture((9, 99, 199)))
    file = io.BytesIO()
    for _ in range(generator.choice([0, 1, 2, 70])):
        name = generator.choice(["image", "image", "images", 'a"b', "\x00", "i" * 9000])
        file.write(b'--x\r\ncontent-disposition: form-data; name="' + name.encode() + b'"; filename="a"\r\n\r\n')
        file.write(picture + b"\r\n")
    file.write(generator.choice([b"--x--\r\n", b"--x", b"", b"--x--junk", b"--x\r\n" * 5000]))
    body = mutate(generator, file.getvalue()) if generator.random() < 0.5 else file.getvalue()
    boundary = generator.choice(["x", '"x"', "y", "x" * 71, "", '"', "x\x01"])
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return Attack("changed form", write_request("/classify", headers, body))


def send_hostile_tensors(generator: random.Random, question: Question) -> Attack:
    """Below /v2: tensors that are none, of any model."""
    shape = generator.choice([[1, 8, 8, 3], [-1], [0, 8, 8, 3], [2**62, 2**62], [], ["a"], [1.5], None])
    tensor = {
        "name": generator.choice(["images", "token_ids", "z", "numbers", "texts", "", 7]),
        "shape": shape,
        "datatype": generator.choice(["UINT8", "FP32", "INT32", "INT64", "BYTES", "FP64", "", None]),
        "data": generator.choice([[1], [[1, 2], [3]], [1e300], ["a"], [None], [{}], "a", None, [2**70], [True]]),
    }
    if generator.random() < 0.3:
        tensor["parameters"] = {"binary_data_size": generator.choice([0, -1, 4, 2**63, "a", 1.5])}
    content = json.dumps({"inputs": [tensor] * generator.choice([0, 1, 2])}).encode()
    headers = {"content-type": generator.choice(["application/json", "application/octet-stream"])}
    if generator.random() < 0.6:
        length = generator.choice([str(len(content)), "0", "-1", "99999999999", "a", "\xb2", ""])
        headers["inference-header-content-length"] = length
        content += generator.randbytes(generator.choice([0, 4, 192, 5000]))
    if generator.random() < 0.3:
        content = content.replace(b"[1]", generator.choice(_HOSTILE))
    path = f"/v2/models/{question.kind}/{generator.choice(['', 'versions/1/', 'versions/a/', 'versions/9/'])}infer"
    return Attack("hostile tensors", write_request(path, headers, content))


def send_odd_address(generator: random.Random, question: Question) -> Attack:
    """Paths, queries and methods that nobody has a use for."""
    route = question.path.partition("?")[0]
    path = generator.choice(
        [
            *(f"{route}?version={generator.choice(['0', '-1', '9' * 400, '1.0', 'a', '%00', '%ff', '1&version=1'])}",),
            *(f"{route}?top_k={generator.choice(['0', 'NaN', '1e3', '', '99'])}", f"{route}?" + "a=1&" * 2000),
            *("/" * 5000, "/models/%2e%2e/%2e%2e/etc/passwd", "/static_content/../../pyproject.toml", "/%", "/%zz"),
            *(
                "/static_content/%2e%2e%2f%2e%2e%2fpyproject.toml",
                "/models/\xff",
                f"http://x{route}",
                "*",
                "/v2/models//",
            ),
            *("/v2/repository/index", "/v2/models/" + "x" * 9000, "/static_content/%00", "/v2/models//", route + "%00"),
        ]
    )
    method = generator.choice(["POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PURGE"])
    headers = {**question.headers, "x-request-timeout": generator.choice(["5", "NaN", "-1", "1e9", "", "9" * 50])}
    return Attack("odd address", write_request(path, headers, question.body, method), ends=method == "CONNECT")


def send_odd_http(generator: random.Random, question: Question) -> Attack:
    """What is hardly HTTP, or none at all."""
    head = f"POST {question.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    sent = generator.choice(
        [
            *(
                b"\r\n" * 50,
                b"\x00" * 100,
                generator.randbytes(200),
                b"GET\r\n\r\n",
                b"GET / HTTP/1.1\r\n a: b\r\n\r\n",
            ),
            *(b"GET /livez\r\n\r\n", b"GET /livez HTTP/0.9\r\n\r\n", b"GET /livez HTTP/2.0\r\n\r\n"),
            *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
            *(head + b"content-length: -5\r\n\r\n", head + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"),
            *(head + b"content-length: +2\r\n\r\n{}", head + b"content-length: 99999999999999999999\r\n\r\n{}"),
            *(head + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", chunked + b"zz\r\n\r\n"),
            *(chunked + b"ffffffffffffffff1\r\n{}", chunked + b"2\r\n{}junk\r\n0\r\n\r\n", chunked + b"-1\r\n\r\n"),
            *(chunked + b"2\r\n{}\r\n0\r\na: b\r\n\r\n", head + b"transfer-encoding: gzip, x\r\n\r\n{}"),
            *(head + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b", head + b"a\x00b: c\r\n\r\n"),
            *(head + b"a : b\r\n\r\n", head + b"x-request-id: a\r\n b\r\n\r\n", head + b": empty\r\n\r\n"),
            *(head + b"a: " + b"b" * 100_000 + b"\r\ncontent-length: 2\r\n\r\n{}",),
            *(head + b"".join(b"h%d: v\r\n" % number for number in range(3000)) + b"content-length: 2\r\n\r\n{}",),
            b"GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            head + b"expect: 200-maybe\r\ncontent-length: 2\r\n\r\n{}",
            head + b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\ncontent-length: 2\r\n\r\n{}",
        ]
    )
    return Attack("odd HTTP", sent, ends=True)


def leave_early(generator: random.Random, question: Question) -> Attack:
    """A good request, from a client that goes before its end or before the answer."""
    request = write_request(question.path, question.headers, question.body)
    end = len(request) if generator.random() < 0.5 else generator.randint(0, len(request))
    return Attack("early disconnect", request[:end], waits=False, resets=generator.random() < 0.5)


WAYS: Final[Sequence[Way]] = (
    *(send_changed_body, send_wrong_type, send_wrong_charset, send_hostile_json, send_hostile_json, send_hostile_json),
    *(send_changed_picture, send_changed_form, send_hostile_tensors, send_odd_address, send_odd_http, leave_early),
)


def _write_png(width: int, height: int, data: bytes) -> bytes:
    """A PNG of 8-bit RGB that says it has this size; ``data`` are its compressed pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
