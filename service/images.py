"""The bytes of a picture become RGB pixels.

What is read: PNG, JPEG, WebP, BMP and GIF, recognised by content, by the rules of :mod:`models.image`.

Which decoder, measured by ``python -m benchmarks.decode`` (Pillow 13.0, OpenCV 5.0, kornia-rs 0.2.0, simplejpeg 1.9.0;
AMD EPYC; CPU microseconds, medians; "scaled" covers 512 x 512):

==========================  =======  ========  =========  ==========  ============  ================
picture                      Pillow    OpenCV  kornia-rs  simplejpeg  this module   this one, scaled
==========================  =======  ========  =========  ==========  ============  ================
PNG 32 x 32                      51        20         14                        15                15
PNG 28 x 28 grey                 40        11         12                        13                13
PNG 500 x 400                 4,903     4,135      1,725                     1,726             1,719
JPEG 32 x 32                     66        17         12          10            15                15
JPEG 500 x 400                  963       580        571         541           559               560
JPEG 500 x 400 progressive    2,095     1,736      1,729       1,695         1,747             1,748
JPEG 4000 x 3000, turned    148,503    76,436     43,258      40,454        58,504            32,451
WebP 32 x 32 lossless            96        36                                   65                65
WebP 500 x 400                2,238     1,804                                2,246             2,196
==========================  =======  ========  =========  ==========  ============  ================

kornia-rs decodes PNG, simplejpeg JPEG (kornia-rs and simplejpeg do not turn, hence the difference in the row of
4000 x 3000), and both only what they give exactly as Pillow does; Pillow decodes the rest, and has the last word where
they refuse. OpenCV would be faster for WebP and BMP, but it writes what it thinks of a client's file to standard
error. kornia-rs holds the GIL while it decodes; simplejpeg, Pillow and OpenCV let other threads run. A thread and back
costs 31 us on uvloop.
"""

import io
import struct
import warnings
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from kornia_rs.io import decode_image_png_u8
from PIL import Image

from models.image import FORMATS, Pixels, read_orientation, read_pixels, turn_upright
from service.errors import UnprocessableError

# Up to this size decoding takes about as long as a run of a small network: 0.5 ms for PNG, 0.2 for JPEG, 0.8 for WebP.
QUICK_PIXELS: Final = 65_536
QUICK_BYTES: Final = 262_144
# A progressive JPEG costs one pass over all its pixels for each scan, and a scan can be 20 bytes long: without a limit
# 10 MB would buy hours. Encoders write about ten.
MAX_PASSES: Final = 16

# Size is checked here, before Pillow sees the picture and again before it decodes.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata with text from the file; Python remembers every distinct warning for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Chunks that say nothing about the pixels by those rules. Compressed ones are Pillow's, which unfolds no bombs.
_PNG_PLAIN_CHUNKS = frozenset(
    (b"IDAT", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs", b"sBIT", b"bKGD", b"tIME", b"tEXt")
)
_PNG_CHUNKS = 64
# kornia-rs holds the GIL: 2 ms for a PNG of this size. Pillow takes 7, but other threads run meanwhile.
_PNG_PIXELS = 262_144
_PNG_SIZE, _JPEG_FRAME = struct.Struct(">II"), struct.Struct(">BHHB")
# Depth, colour type, compression, filter and interlace as IHDR has them.
_PNG_QUICK_MODES = {bytes((8, 2, 0, 0, 0)): "rgb", bytes((8, 0, 0, 0, 0)): "mono"}
_JPEG_BASELINE, _JPEG_PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15; C4, C8 and CC mean other things
_JPEG_SCAN = 0xDA
_JPEG_SEGMENTS = 1024  # before the first scan; a photograph with every kind of metadata has a few dozen


class JpegFrame(NamedTuple):
    """What the segments before a JPEG's first scan say of it."""

    marker: int
    bits: int
    height: int
    width: int
    components: int
    scan_components: int
    has_metadata: bool


class Header(NamedTuple):
    """What the first bytes of a picture say; the size is as stored, before any rotation."""

    format: str
    height: int
    width: int
    jpeg: JpegFrame | None = None


def decode_image(
    body: bytes, max_pixels: int, *, at_least: tuple[int, int] | None = None, location: str = "image"
) -> Pixels:
    """Decode a picture by the rules of :mod:`models.image`.

    Args:
        body: the file.
        max_pixels: pictures with more are refused by their header.
        at_least: (height, width) that suffice. A JPEG may be decoded to a half, a quarter or an
            eighth of its size as long as it still covers both; without it every pixel is decoded.
            Measured on nine sizes of a photograph, 16 times what the network reads changes its pixels
            by at most 3 of 255 levels, 8 times by 8, 4 times by 15, 2 times by 30: cropping rounds.
        location: where the picture stands in the request, for the error.

    Returns:
        (height, width, 3) RGB, contiguous.

    Raises:
        UnprocessableError: no picture of a format that is read, too many pixels, damaged or truncated.
    """
    pixels = _decode_plain_png(body, max_pixels)
    if pixels is not None:
        return pixels
    header = read_header(body, location)
    _check_size(header, max_pixels, location)
    if header.format == "PNG":
        _check_end(body, header, location)
    elif header.jpeg:
        _check_passes(body, header.jpeg, max_pixels, location)
        pixels = _decode_jpeg(body, header.jpeg, at_least)
    return _decode_by_pillow(body, header, max_pixels, location) if pixels is None else pixels


def image_size(body: bytes, location: str = "image") -> tuple[int, int]:
    """The (height, width) that a picture's header says, before any rotation; nothing is decoded.

    Raises:
        UnprocessableError: no picture of a format that is read, or no size in its header.
    """
    header = read_header(body, location)
    return header.height, header.width


def decodes_quickly(body: bytes) -> bool:
    """Whether decoding takes about a millisecond at most, so that handing it to a thread does not pay.

    What is no picture is refused quickly.
    """
    if len(body) > QUICK_BYTES:
        return False
    try:
        header = read_header(body, "image")
    except UnprocessableError:
        return True
    return header.height * header.width <= QUICK_PIXELS


def read_header(body: bytes, location: str) -> Header:
    """Recognise a picture and its size by its first bytes.

    Raises:
        UnprocessableError: no picture of a format that is read, or no size in its header.
    """
    for signature, name, read in _READERS:
        if body.startswith(signature):
            header = read(body)
            if header is None or header.height < 1 or header.width < 1:
                raise UnprocessableError([(location, f"damaged {name}: its header gives no size")])
            return header
    found = f"{len(body):,} bytes that begin with {body[:8]!r}" if body else "nothing"
    raise UnprocessableError([(location, f"expected a PNG, JPEG, WebP, BMP or GIF file, found {found}")])


def _check_size(header: Header, max_pixels: int, location: str) -> None:
    pixels = header.height * header.width
    if pixels > max_pixels:
        size = f"{header.width} x {header.height} = {pixels:,} pixels"
        raise UnprocessableError([(location, f"{header.format} of {size}, expected at most {max_pixels:,}")])


def _check_end(body: bytes, header: Header, location: str) -> None:
    """Refuse a PNG without its last chunk: Pillow takes one that was cut off behind its pixels."""
    if body.rfind(b"IEND", 33) < 0:  # from the end, where it stands
        size = f"{header.width} x {header.height}"
        message = f"damaged or truncated PNG: its header says {size} pixels, its last chunk is missing"
        raise UnprocessableError([(location, message)])


def _check_passes(body: bytes, jpeg: JpegFrame, max_pixels: int, location: str) -> None:
    if jpeg.marker in _JPEG_BASELINE and jpeg.scan_components == jpeg.components:
        return  # one scan by construction
    scans = body.count(b"\xff\xda")
    if scans * jpeg.height * jpeg.width > MAX_PASSES * max_pixels:
        allowed = MAX_PASSES * max_pixels // (jpeg.height * jpeg.width)
        raise UnprocessableError([(location, f"JPEG of {scans:,} scans, expected at most {allowed:,} at its size")])


def _decode_plain_png(body: bytes, max_pixels: int) -> Pixels | None:
    """Small and middling 8-bit grey and RGB by kornia-rs; None where it is anything else, or not good."""
    mode = _PNG_QUICK_MODES.get(body[24:29])
    if mode is None or not body.startswith(_PNG_SIGNATURE) or body[12:16] != b"IHDR":
        return None
    width, height = _PNG_SIZE.unpack_from(body, 16)
    if not 0 < height * width <= min(_PNG_PIXELS, max_pixels) or not _has_only_plain_chunks(body):
        return None
    try:
        pixels: Pixels = decode_image_png_u8(body, (height, width), mode)
    except Exception:  # kornia-rs raises nothing more specific; Pillow decides whether the file is good
        return None
    return pixels if mode == "rgb" else np.repeat(pixels, 3, axis=2)


def _has_only_plain_chunks(body: bytes) -> bool:
    """Whether the PNG is a short chain of chunks without EXIF, XMP, a colour key or animation."""
    position = 33  # after IHDR
    for _ in range(_PNG_CHUNKS):
        kind = body[position + 4 : position + 8]
        if kind == b"IEND":
            return True
        if kind not in _PNG_PLAIN_CHUNKS or body.startswith(b"Raw profile type", position + 8):
            return False
        position += 12 + int.from_bytes(body[position : position + 4], "big")
    return False


def _decode_jpeg(body: bytes, jpeg: JpegFrame, at_least: tuple[int, int] | None) -> Pixels | None:
    """Baseline and progressive grey, RGB and YCbCr by libjpeg-turbo, scaled in the DCT where that suffices."""
    if jpeg.marker not in _JPEG_BASELINE + _JPEG_PROGRESSIVE or jpeg.bits != 8 or jpeg.components not in (1, 3):
        return None
    orientation = _jpeg_orientation(body) if jpeg.has_metadata else 1
    height, width = _scaled_size(jpeg, at_least, swap=orientation >= 5)
    pixels: Pixels = np.empty((height, width, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(body, min_height=height, min_width=width, buffer=pixels)
    except ValueError:  # also where libjpeg only warns: Pillow decides whether the file is good
        return None
    return turn_upright(pixels, orientation)


def _scaled_size(jpeg: JpegFrame, at_least: tuple[int, int] | None, *, swap: bool) -> tuple[int, int]:
    """The smallest size that libjpeg decodes to by 1/8, 1/4 or 1/2 and that covers ``at_least``, or the full size."""
    if at_least is not None:
        least_height, least_width = reversed(at_least) if swap else at_least
        for divisor in (8, 4, 2):
            height, width = -(-jpeg.height // divisor), -(-jpeg.width // divisor)
            if height >= least_height and width >= least_width:
                return height, width
    return jpeg.height, jpeg.width


def _decode_by_pillow(body: bytes, header: Header, max_pixels: int, location: str) -> Pixels:
    """Everything that no faster decoder takes, and the last word on whether a file is good."""
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as picture:
            # A GIF's frame may exceed its screen, a PNG may hold a second header.
            _check_size(Header(header.format, picture.height, picture.width), max_pixels, location)
            return read_pixels(picture)
    except (MemoryError, UnprocessableError):
        raise
    except Exception as error:  # whatever Pillow's parsers stumble on: a dozen types were seen, AssertionError included
        size = f"{header.width} x {header.height}"
        message = f"damaged or truncated {header.format}: its header says {size} pixels, its data cannot be decoded"
        raise UnprocessableError([(location, message)]) from error


def _jpeg_orientation(body: bytes) -> int:
    try:
        with Image.open(io.BytesIO(body), formats=("JPEG",)) as picture:
            return read_orientation(picture)
    except OSError:  # Pillow cannot open it: then the metadata cannot be read
        return 1


def _read_png(body: bytes) -> Header | None:
    if len(body) < 29 or body[12:16] != b"IHDR":
        return None
    width, height = _PNG_SIZE.unpack_from(body, 16)
    return Header("PNG", height, width)


def _read_jpeg(body: bytes) -> Header | None:
    """Walk the segments up to the first scan; None where there is no frame before it or the chain breaks."""
    position, has_metadata = 2, False
    frame: tuple[int, int, int, int, int] | None = None  # marker, bits, height, width, components
    for _ in range(_JPEG_SEGMENTS):
        if position + 10 > len(body) or body[position] != 0xFF:
            return None
        marker = body[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == _JPEG_SCAN:
            if frame is None:
                return None
            jpeg = JpegFrame(*frame, body[position + 4], has_metadata)
            return Header("JPEG", jpeg.height, jpeg.width, jpeg)
        else:
            if marker in _JPEG_FRAMES:
                bits, height, width, components = _JPEG_FRAME.unpack_from(body, position + 4)
                frame = (marker, bits, height, width, components)
            elif marker == 0xE1:  # APP1: EXIF or XMP
                has_metadata = True
            position += 2 + (body[position + 2] << 8 | body[position + 3])
    return None


def _read_webp(body: bytes) -> Header | None:
    if len(body) < 30:
        return None
    kind = body[8:16]
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", body, 26)
        return Header("WEBP", height & 0x3FFF, width & 0x3FFF)
    if kind == b"WEBPVP8L":
        bits = int.from_bytes(body[21:25], "little")
        return Header("WEBP", (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    if kind == b"WEBPVP8X":
        return Header("WEBP", int.from_bytes(body[27:30], "little") + 1, int.from_bytes(body[24:27], "little") + 1)
    return None


def _read_gif(body: bytes) -> Header | None:
    if len(body) < 10:
        return None
    width, height = struct.unpack_from("<HH", body, 6)
    return Header("GIF", height, width)


def _read_bmp(body: bytes) -> Header | None:
    if len(body) < 26:
        return None
    if int.from_bytes(body[14:18], "little") == 12:  # the OS/2 header has 16-bit sizes
        width, height = struct.unpack_from("<HH", body, 18)
    else:
        width, height = struct.unpack_from("<ii", body, 18)
    return Header("BMP", abs(height), width)  # a negative height means top to bottom


_READERS: Final[tuple[tuple[bytes, str, Callable[[bytes], Header | None]], ...]] = (
    (_PNG_SIGNATURE, "PNG", _read_png),
    (b"\xff\xd8", "JPEG", _read_jpeg),
    (b"RIFF", "WEBP", _read_webp),
    (b"GIF87a", "GIF", _read_gif),
    (b"GIF89a", "GIF", _read_gif),
    (b"BM", "BMP", _read_bmp),
)
