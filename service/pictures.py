"""Answers that are pictures: each as a PNG file in JSON, or all as one PNG file, a grid.

A prediction has its ``pixels``, (height, width, channels) of uint8, among its members.
"""

import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from service import VERSION
from service.encoders import Headers, JsonEncoder, Predictions
from service.png import Pixels, PngWriter, encode_png, make_text

# Between the images of a grid.
_GAP: Final = 2
_WHITE: Final = 255
# What a file and each byte of its pixels cost, and how much may be made on the event loop. Measured on one core, AMD
# EPYC: 45 us for 28x28 of grey, 85 us for 32x32 of RGB.
_FILE_SECONDS: Final = 35e-6
_BYTE_SECONDS: Final = 15e-9
_QUICK_SECONDS: Final = 0.001

# What software that looks for it takes as the mark of a picture that a model has made: XMP with IPTC's type of source
# (IPTC Photo Metadata Standard 2023.2, Digital Source Type).
_XMP: Final = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    "</rdf:RDF></x:xmpmeta>"
)
_MARK: Final = make_text("Software", f"Modelyard {VERSION}") + make_text("XML:com.adobe.xmp", _XMP)


def make_mark(origin: Mapping[str, Any]) -> bytes:
    """The texts of a PNG file that say that it is synthetic, and by what it was made: ``origin``, as JSON."""
    return _MARK + make_text("Comment", orjson.dumps({"synthetic": True, **origin}).decode())


class PicturesEncoder(JsonEncoder):
    """As JsonEncoder, where each prediction has a PNG file in base64, ``png``, in the place of its pixels.

    Args:
        members: what stands before the list.
        name: what the list is called.
        shape: of the pixels.
        mark: makes the mark of a file from the other members of its prediction.
    """

    def __init__(
        self,
        members: Mapping[str, object],
        name: str,
        shape: Sequence[int],
        mark: Callable[[Mapping[str, Any]], bytes],
    ) -> None:
        super().__init__(members, name)
        self.quick_predictions = _QUICK_SECONDS / (_FILE_SECONDS + _BYTE_SECONDS * math.prod(shape))
        self._mark = mark

    def feed(self, predictions: Predictions) -> bytes:
        """More of the list."""
        return super().feed([self._encode(prediction) for prediction in predictions])

    def _encode(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        members = {name: value for name, value in prediction.items() if name != "pixels"}
        file = encode_png(prediction["pixels"], self._mark(members))
        return {**members, "png": binascii.b2a_base64(file, newline=False).decode()}


class GridEncoder:
    """One PNG file: a single picture as it is, or several in rows, from the left and from above, with white between.

    There are as many columns as rows, or one more. Rows are written when they are complete.

    Args:
        count: how many pictures will come.
        shape: of each, (height, width, channels).
        mark: the mark of the file.
        headers: of the answer.
    """

    content_type = b"image/png"

    def __init__(self, count: int, shape: Sequence[int], mark: bytes, headers: Headers) -> None:
        self.headers = headers
        self.quick_predictions: float = _QUICK_SECONDS / (_BYTE_SECONDS * math.prod(shape))
        self._height, self._width, self._channels = shape
        self._columns = math.isqrt(count - 1) + 1
        rows = math.ceil(count / self._columns)
        self._grid_width = self._columns * (self._width + _GAP) - _GAP
        self._writer = PngWriter((rows * (self._height + _GAP) - _GAP, self._grid_width, self._channels), mark)
        self._waiting: list[Pixels] = []
        self._gap = 0  # above the next row

    def begin(self) -> bytes:
        """The size and the mark."""
        return self._writer.begin()

    def feed(self, predictions: Predictions) -> bytes:
        """Those rows that have become complete."""
        self._waiting += [prediction["pixels"] for prediction in predictions]
        return b"".join(self._write_row() for _ in range(len(self._waiting) // self._columns))

    def finish(self) -> bytes:
        """What is left of the pictures, with white behind them, and the end."""
        return (self._write_row() if self._waiting else b"") + self._writer.finish()

    def _write_row(self) -> bytes:
        row = np.full((self._gap + self._height, self._grid_width, self._channels), _WHITE, np.uint8)
        for column, pixels in enumerate(self._waiting[: self._columns]):
            left = column * (self._width + _GAP)
            row[self._gap :, left : left + self._width] = pixels
        del self._waiting[: self._columns]
        self._gap = _GAP
        return self._writer.feed(row)
