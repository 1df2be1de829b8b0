"""Requests prepared once, as files that the load generator posts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

BOUNDARY = "modelyard-benchmark-boundary"
CONTENT_TYPES = {"raw": "image/png", "multipart": f"multipart/form-data; boundary={BOUNDARY}"}


def encode_body(image: bytes, form: Literal["raw", "multipart"]) -> bytes:
    """A PNG file as the body itself, or as the part ``image`` of a multipart body."""
    if form == "raw":
        return image
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n'
    return head.encode() + b"Content-Type: image/png\r\n\r\n" + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def write_bodies(folder: Path, images: Sequence[bytes]) -> None:
    """Write ``folder/<form>/<index>`` for both forms."""
    for form in ("raw", "multipart"):
        (folder / form).mkdir()
        for index, image in enumerate(images):
            (folder / form / str(index)).write_bytes(encode_body(image, form))
