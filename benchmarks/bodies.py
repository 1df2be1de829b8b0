"""Requests prepared once, as files that the load generator posts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

Form = Literal["raw", "multipart", "json"]
Bodies = Mapping[Form, Sequence[bytes]]

BOUNDARY = "modelyard-benchmark-boundary"
CONTENT_TYPES: Mapping[Form, str] = {
    "raw": "image/png",
    "multipart": f"multipart/form-data; boundary={BOUNDARY}",
    "json": "application/json",
}


def encode_form(image: bytes) -> bytes:
    """A PNG file as the part ``image`` of a multipart body."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n'
    return head.encode() + b"Content-Type: image/png\r\n\r\n" + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def write_bodies(folder: Path, bodies: Bodies) -> None:
    """Write ``folder/<form>/<index>`` for every body."""
    for form, contents in bodies.items():
        (folder / form).mkdir(parents=True)
        for index, content in enumerate(contents):
            (folder / form / str(index)).write_bytes(content)
