"""Decoding: the rules for every format and mode, and what hostile bytes can do."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.image import ImagePreprocessing, Pixels, fit_image
from service.errors import UnprocessableError
from service.images import QUICK_PIXELS, decode_image, decodes_quickly, image_size

SAMPLES = Path(__file__).parents[1] / "samples" / "images"
CAT_JPEG = (SAMPLES / "cat.jpg").read_bytes()
CAT_PNG = (SAMPLES / "cifar10-cat.png").read_bytes()
CAT = Image.open(io.BytesIO(CAT_PNG)).convert("RGB")
PHOTOGRAPH = Image.open(io.BytesIO(CAT_JPEG)).convert("RGB")
MAX_PIXELS = 1_000_000
ORIENTATION = 0x0112


def encode(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def decode(body: bytes) -> Pixels:
    return decode_image(body, MAX_PIXELS)


def refusal(body: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(UnprocessableError) as caught:
        decode_image(body, max_pixels, location="images[3]")
    ((location, message),) = caught.value.problems
    assert location == "images[3]"
    return message


def with_alpha(picture: Image.Image) -> Image.Image:
    """Transparent at the top, opaque at the bottom."""
    result = picture.convert("RGBA")
    result.putalpha(Image.linear_gradient("L").resize(picture.size))
    return result


def on_white(picture: Image.Image) -> Pixels:
    """The definition of compositing on white, in exact arithmetic."""
    rgba = np.asarray(picture).astype(float)
    alpha = rgba[:, :, 3:] / 255
    return np.rint(rgba[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    result = Image.Exif()
    result[ORIENTATION] = orientation
    return result


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, colour: int, rows: bytes, size: int, *chunks: bytes, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", size, size, depth, colour, 0, 0, interlace)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + data + chunk(b"IEND", b"")


# Formats and modes


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(CAT_PNG, id="PNG"),
        pytest.param(encode(CAT.resize((600, 600)), "PNG"), id="large PNG"),
        pytest.param(encode(CAT, "WEBP", lossless=True), id="WebP"),
        pytest.param(encode(CAT, "BMP"), id="BMP"),
    ],
)
def test_a_lossless_file_gives_its_exact_pixels(body: bytes) -> None:
    pixels = decode(body)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, np.asarray(CAT.resize((pixels.shape[1], pixels.shape[0]))))


@pytest.mark.parametrize("picture", [PHOTOGRAPH, PHOTOGRAPH.convert("L")], ids=["colour", "grey"])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 30},
        {"quality": 95, "subsampling": "4:4:4"},
        {"quality": 80, "subsampling": "4:2:2"},
        {"progressive": True},
        {"restart_marker_blocks": 4},
        {"keep_rgb": True},
    ],
    ids=str,
)
def test_a_jpeg_is_within_two_levels_of_pillow(picture: Image.Image, options: dict[str, object]) -> None:
    body = encode(picture, "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int)
    assert np.abs(decode(body) - expected).max() <= 2


def test_a_lossy_webp_is_what_pillow_reads() -> None:
    body = encode(PHOTOGRAPH, "WEBP", quality=80)
    np.testing.assert_array_equal(decode(body), np.asarray(Image.open(io.BytesIO(body)).convert("RGB")))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF"])
def test_grey_is_copied_to_three_channels(file_format: str) -> None:
    grey = CAT.convert("L")
    pixels = decode(encode(grey, file_format))
    np.testing.assert_array_equal(pixels, np.dstack([np.asarray(grey)] * 3))


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_one_bit_is_black_or_white(file_format: str) -> None:
    bits = CAT.convert("1")
    pixels = decode(encode(bits, file_format))
    np.testing.assert_array_equal(pixels, np.dstack([np.asarray(bits) * np.uint8(255)] * 3))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF"])
def test_a_palette_is_looked_up(file_format: str) -> None:
    palette = CAT.quantize(16)
    np.testing.assert_array_equal(decode(encode(palette, file_format)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("picture", [with_alpha(CAT), with_alpha(CAT.convert("L"))], ids=["colour", "grey"])
@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_composited_on_white(picture: Image.Image, file_format: str, options: dict[str, object]) -> None:
    pixels = decode(encode(picture, file_format, **options))
    assert np.abs(pixels.astype(int) - on_white(picture)).max() <= 1


def test_grey_with_alpha_is_composited_on_white() -> None:
    grey = with_alpha(CAT).convert("LA")
    assert np.abs(decode(encode(grey, "PNG")).astype(int) - on_white(grey.convert("RGBA"))).max() <= 1


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(file_format: str) -> None:
    palette = CAT.quantize(8)
    indices = np.asarray(palette)
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[indices == 3] = 255
    np.testing.assert_array_equal(decode(encode(palette, file_format, transparency=3)), expected)


def test_a_colour_key_is_white() -> None:
    pixels = np.full((4, 4, 3), 10, np.uint8)
    pixels[1, 2] = (1, 2, 3)
    body = encode(Image.fromarray(pixels), "PNG", transparency=(10, 10, 10))
    decoded = decode(body)
    assert decoded[1, 2].tolist() == [1, 2, 3]
    assert (np.delete(decoded.reshape(-1, 3), 6, axis=0) == 255).all()


def test_sixteen_bits_of_grey_keep_their_high_byte() -> None:
    levels = np.arange(0, 65_536, 64, dtype=np.uint16).reshape(32, 32)
    pixels = decode(encode(Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(pixels, np.dstack([(levels >> 8).astype(np.uint8)] * 3))


def test_sixteen_bits_of_colour_keep_their_high_byte_and_ignore_a_colour_key() -> None:
    levels = np.random.default_rng(0).integers(0, 65_536, (8, 8, 3), dtype=np.uint16)
    encoded, body = cv2.imencode(".png", levels[:, :, ::-1])
    assert encoded
    np.testing.assert_array_equal(decode(body.tobytes()), (levels >> 8).astype(np.uint8))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    key = chunk(b"tRNS", levels[0, 0].astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(png(16, 2, rows, 8, key)), (levels >> 8).astype(np.uint8))


def test_an_interlaced_png_is_read() -> None:
    pixels = np.asarray(CAT.resize((8, 8)))
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    rows = b"".join(
        b"\0" + row.tobytes() for top, down, left, right in passes for row in pixels[top::down, left::right]
    )
    np.testing.assert_array_equal(decode(png(8, 2, rows, 8, interlace=1)), pixels)


def test_cmyk_is_read_by_pillows_formula() -> None:
    body = encode(PHOTOGRAPH.convert("CMYK"), "JPEG", quality=95)
    pixels = decode(body)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(body)).convert("RGB")))
    assert np.abs(pixels.astype(int) - np.asarray(PHOTOGRAPH)).mean() < 3


def test_ycck_is_read_by_pillows_formula() -> None:
    cmyk = 255 - np.asarray(PHOTOGRAPH.convert("CMYK"))  # Adobe's files hold it inverted
    body = simplejpeg.encode_jpeg(np.ascontiguousarray(cmyk), quality=95, colorspace="CMYK", colorsubsampling="420")
    assert b"Adobe" in body
    assert np.abs(decode(body).astype(int) - np.asarray(PHOTOGRAPH)).mean() < 3


@pytest.mark.parametrize(("file_format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_the_first_frame_of_an_animation_counts(file_format: str, options: dict[str, object]) -> None:
    first, second = CAT.quantize(64).convert("RGB"), CAT.rotate(180)
    body = encode(first, file_format, save_all=True, append_images=[second], duration=100, **options)
    np.testing.assert_array_equal(decode(body), np.asarray(first))


def test_the_first_picture_of_a_multi_picture_jpeg_counts() -> None:
    body = encode(PHOTOGRAPH, "MPO", save_all=True, append_images=[PHOTOGRAPH.rotate(180)])
    np.testing.assert_array_equal(decode(body), np.asarray(Image.open(io.BytesIO(body)).convert("RGB")))


def test_bytes_after_the_picture_do_not_matter() -> None:
    np.testing.assert_array_equal(decode(CAT_JPEG + b"\xff\xda video" * 100), decode(CAT_JPEG))
    np.testing.assert_array_equal(decode(CAT_PNG + b"more"), decode(CAT_PNG))


# Orientation

CORNERS = np.zeros((16, 32, 3), np.uint8)
CORNERS[:8, :16] = (255, 0, 0)
CORNERS[:8, 16:] = (0, 255, 0)
CORNERS[8:, :16] = (0, 0, 255)
RED, GREEN, BLUE, BLACK = 0, 1, 2, 3
# What stands top left, top right, bottom left, bottom right once the picture is upright (EXIF 2.32, tag 274).
UPRIGHT = {
    1: (RED, GREEN, BLUE, BLACK),
    2: (GREEN, RED, BLACK, BLUE),
    3: (BLACK, BLUE, GREEN, RED),
    4: (BLUE, BLACK, RED, GREEN),
    5: (RED, BLUE, GREEN, BLACK),
    6: (BLUE, RED, BLACK, GREEN),
    7: (BLACK, GREEN, BLUE, RED),
    8: (GREEN, BLACK, RED, BLUE),
}


def corners(pixels: Pixels) -> tuple[int, ...]:
    height, width = pixels.shape[:2]
    found = [pixels[y, x].astype(int) for y in (2, height - 3) for x in (2, width - 3)]
    return tuple(int(colour.argmax()) if colour.max() > 128 else BLACK for colour in found)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_jpeg_is_turned_upright(orientation: int, mode: str) -> None:
    body = encode(Image.fromarray(CORNERS).convert(mode), "JPEG", quality=95, exif=exif(orientation))
    pixels = decode(body)
    assert pixels.shape == ((32, 16, 3) if orientation >= 5 else (16, 32, 3))
    assert corners(pixels) == UPRIGHT[orientation]
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_png_and_webp_are_turned_upright(orientation: int, file_format: str) -> None:
    body = encode(Image.fromarray(CORNERS), file_format, lossless=True, exif=exif(orientation))
    assert corners(decode(body)) == UPRIGHT[orientation]


def test_a_scaled_jpeg_is_turned_upright() -> None:
    large = Image.fromarray(CORNERS).resize((640, 320), Image.Resampling.NEAREST)
    body = encode(large, "JPEG", quality=95, exif=exif(6))
    pixels = decode_image(body, MAX_PIXELS, at_least=(160, 80))
    assert pixels.shape == (160, 80, 3)
    assert corners(pixels) == UPRIGHT[6]


def test_exif_after_the_data_of_a_png_counts() -> None:
    plain = encode(Image.fromarray(CORNERS), "PNG")
    marked = plain[:-12] + chunk(b"eXIf", exif(3).tobytes().removeprefix(b"Exif\0\0")) + plain[-12:]
    assert corners(decode(marked)) == UPRIGHT[3]


def test_orientation_in_xmp_counts() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description tiff:Orientation="8" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"/></rdf:RDF></x:xmpmeta>'
    )
    body = encode(Image.fromarray(CORNERS), "JPEG", quality=95, xmp=packet)
    assert corners(decode(body)) == UPRIGHT[8]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow warns of the damage; the service does not listen
@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"II*\0",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x63",
    ],
    ids=repr,
)
def test_metadata_that_cannot_be_read_says_nothing(damage: bytes) -> None:
    body = encode(Image.fromarray(CORNERS), "JPEG", quality=95, exif=b"Exif\0\0" + damage)
    assert corners(decode(body)) == UPRIGHT[1]


# Scaled decoding


@pytest.mark.parametrize(
    ("size", "expected"),
    [((4000, 3000), (750, 1000)), ((1999, 1333), (667, 1000)), ((600, 600), (600, 600)), ((40, 4000), (4000, 40))],
)
def test_scaled_decoding_covers_what_is_asked(size: tuple[int, int], expected: tuple[int, int]) -> None:
    body = encode(PHOTOGRAPH.resize(size), "JPEG")
    assert decode_image(body, 12_000_000, at_least=(512, 512)).shape[:2] == expected


@pytest.mark.parametrize("size", [(4000, 3000), (1999, 1333), (1023, 1025), (3000, 700)])
def test_scaled_decoding_hardly_changes_what_the_network_reads(size: tuple[int, int]) -> None:
    network = ImagePreprocessing(height=32, width=32, channels=3)
    body = encode(PHOTOGRAPH.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)
    exact = fit_image(decode_image(body, 12_000_000), network).astype(int)
    scaled = fit_image(decode_image(body, 12_000_000, at_least=(512, 512)), network)
    change = np.abs(scaled - exact)
    assert change.max() <= 4
    assert change.mean() <= 0.5


def test_only_jpeg_is_scaled() -> None:
    body = encode(PHOTOGRAPH, "PNG")
    assert decode_image(body, MAX_PIXELS, at_least=(32, 32)).shape == (300, 451, 3)


# Sizes


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_the_header_gives_the_size(file_format: str) -> None:
    for width, height in ((1, 1), (7, 300), (300, 7)):
        for mode in ("RGB", "P", "L"):
            if (file_format, mode) != ("JPEG", "P"):
                body = encode(PHOTOGRAPH.resize((width, height)).convert(mode), file_format)
                assert image_size(body) == (height, width)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"quality": 5}, {"exif": exif(6)}], ids=["VP8L", "VP8", "VP8X"]
)
def test_the_header_of_every_kind_of_webp_gives_the_size(options: dict[str, object]) -> None:
    assert image_size(encode(PHOTOGRAPH, "WEBP", **options)) == (300, 451)


def test_a_bmp_from_top_to_bottom_and_one_of_os2_give_their_size() -> None:
    body = bytearray(encode(CAT, "BMP"))
    body[22:26] = struct.pack("<i", -32)
    assert image_size(bytes(body)) == (32, 32)
    np.testing.assert_array_equal(decode(bytes(body)), np.asarray(CAT)[::-1])
    os2 = b"BM" + struct.pack("<IHHIIHHHH", 26 + 16, 0, 0, 26, 12, 2, 2, 1, 24) + bytes(16)
    assert image_size(os2) == (2, 2)
    assert decode(os2).shape == (2, 2, 3)


def test_small_pictures_and_refusals_are_quick() -> None:
    assert decodes_quickly(CAT_PNG)
    assert decodes_quickly(b"no picture")
    assert not decodes_quickly(CAT_JPEG)
    assert not decodes_quickly(CAT_PNG + bytes(1_000_000))
    side = int(QUICK_PIXELS**0.5)
    assert decodes_quickly(encode(Image.new("L", (side, side)), "PNG"))
    assert not decodes_quickly(encode(Image.new("L", (side, side + 1)), "PNG"))


# Refusals


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "nothing"),
        (b"not a picture", "13 bytes that begin with b'not a pi'"),
        (b"%PDF-1.7\n", "9 bytes that begin with b'%PDF-1.7'"),
        (b"II*\0\x08\0\0\0", r"8 bytes that begin with b'II*\x00\x08\x00\x00\x00'"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_was_found(body: bytes, found: str) -> None:
    assert refusal(body) == f"expected a PNG, JPEG, WebP, BMP or GIF file, found {found}"


@pytest.mark.parametrize(
    "body", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n" + bytes(40), b"RIFF1234WEBPnope" + bytes(20)]
)
def test_a_header_without_a_size_is_refused(body: bytes) -> None:
    assert refusal(body).startswith("damaged ")


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("GIF", {}),
    ],
    ids=str,
)
def test_a_truncated_file_is_refused(file_format: str, options: dict[str, object]) -> None:
    body = encode(PHOTOGRAPH, file_format, **options)
    reason = "its last chunk is missing" if file_format == "PNG" else "its data cannot be decoded"
    for kept in (len(body) // 2, len(body) * 9 // 10):
        assert refusal(body[:kept]) == (
            f"damaged or truncated {file_format}: its header says 451 x 300 pixels, {reason}"
        )


def test_a_png_that_lacks_no_more_than_its_end_is_refused() -> None:
    for body in (CAT_PNG, encode(PHOTOGRAPH, "PNG"), encode(PHOTOGRAPH.convert("P"), "PNG")):
        for missing in (9, 12, 20):
            assert refusal(body[:-missing]).endswith("its last chunk is missing")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_too_many_pixels_are_refused_by_the_header_alone(file_format: str) -> None:
    body = encode(Image.new("RGB", (2000, 1000)), file_format)
    header_only = body[: 1000 if file_format == "JPEG" else 40]
    assert refusal(header_only, 1_999_999).endswith("of 2000 x 1000 = 2,000,000 pixels, expected at most 1,999,999")
    assert decode_image(body, 2_000_000).shape == (1000, 2000, 3)


def test_a_gif_whose_frame_exceeds_its_screen_is_refused() -> None:
    body = bytearray(encode(Image.new("L", (600, 600)), "GIF"))
    body[6:10] = struct.pack("<HH", 1, 1)
    assert image_size(bytes(body)) == (1, 1)
    assert "600 x 600" in refusal(bytes(body), 10_000)


def test_a_second_header_in_a_png_does_not_get_around_the_limit() -> None:
    small, large = encode(Image.new("L", (8, 8)), "PNG"), encode(Image.new("L", (600, 600)), "PNG")
    assert "600 x 600" in refusal(small[:33] + large[8:], 10_000)


def test_a_progressive_jpeg_of_endless_scans_is_refused() -> None:
    body = encode(PHOTOGRAPH, "JPEG", progressive=True)
    last_scan = body[body.rfind(b"\xff\xda") : -2]
    long = body[:-2] + last_scan * 500 + b"\xff\xd9"
    assert refusal(long, 300 * 451) == "JPEG of 510 scans, expected at most 16 at its size"


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    assert (
        refusal(b"\xff\xd8" + b"\xff\xe3\x00\x02" * 1_000_000 + CAT_JPEG[2:])
        == "damaged JPEG: its header gives no size"
    )
    assert refusal(b"\xff\xd8" + b"\xff" * 1_000_000 + CAT_JPEG[2:]) == "damaged JPEG: its header gives no size"


def test_bombs_in_a_pngs_other_chunks_are_not_unfolded() -> None:
    plain = decode(CAT_PNG)
    for kind in (b"zTXt", b"iCCP"):
        harmless = CAT_PNG[:33] + chunk(kind, b"k\0\0" + zlib.compress(bytes(3000))) + CAT_PNG[33:]
        np.testing.assert_array_equal(decode(harmless), plain)
        bomb = CAT_PNG[:33] + chunk(kind, b"k\0\0" + zlib.compress(bytes(50_000_000), 9)) + CAT_PNG[33:]
        assert refusal(bomb).startswith("damaged or truncated PNG")


def test_what_libraries_would_say_on_standard_error_is_not_said(capfd: pytest.CaptureFixture[str]) -> None:
    odd_profile = CAT_PNG[:33] + chunk(b"iCCP", b"k\0\0" + zlib.compress(b"no profile")) + CAT_PNG[33:]
    odd_jpeg = CAT_JPEG[:-2] + b"odd" + CAT_JPEG[-2:]
    assert decode(odd_profile).shape == (32, 32, 3)
    assert decode(odd_jpeg).shape == (300, 451, 3)
    refusal(CAT_JPEG[:9000])
    assert capfd.readouterr() == ("", "")


# Whatever bytes a client makes up

SEEDS = [
    CAT_PNG,
    encode(CAT.convert("L"), "PNG", exif=exif(6)),
    encode(with_alpha(CAT), "PNG"),
    encode(CAT.quantize(16), "PNG", transparency=1),
    encode(CAT.convert("1"), "PNG"),
    encode(Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32)), "PNG"),
    encode(CAT, "JPEG"),
    encode(CAT, "JPEG", progressive=True, exif=exif(8)),
    encode(CAT.convert("CMYK"), "JPEG"),
    encode(CAT, "MPO", save_all=True, append_images=[CAT.rotate(90)]),
    encode(CAT, "WEBP"),
    encode(with_alpha(CAT), "WEBP", lossless=True, exif=exif(5)),
    encode(CAT, "BMP"),
    encode(CAT.quantize(16), "BMP"),
    encode(CAT.quantize(32), "GIF", save_all=True, append_images=[CAT.rotate(90).quantize(32)]),
]
EDIT = st.tuples(st.integers(0, 4000), st.integers(0, 12), st.binary(max_size=12))


def with_true_checksums(body: bytes) -> bytes:
    """A PNG with its chunks' checksums made right, so that the damage gets past them."""
    result, position = body[:8], 8
    while position + 12 <= len(body):
        end = position + 8 + int.from_bytes(body[position : position + 4], "big")
        if end + 4 > len(body):
            break
        result += chunk(body[position + 4 : position + 8], body[position + 8 : end])
        position = end + 4
    return result + body[position:]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow warns of odd metadata; the service does not listen
@settings(max_examples=1500, deadline=2000)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(EDIT, min_size=1, max_size=6),
    keep=st.floats(0.02, 1),
    mend=st.booleans(),
)
def test_mutated_files_are_decoded_or_refused(
    seed: bytes, edits: list[tuple[int, int, bytes]], keep: float, mend: bool
) -> None:
    body = bytearray(seed)
    for position, removed, inserted in edits:
        start = position % len(body)
        body[start : start + removed] = inserted
        body = body or bytearray(b"\0")
    mutated = bytes(body[: max(1, int(len(body) * keep))]) if keep < 0.9 else bytes(body)
    if mend and mutated.startswith(b"\x89PNG"):
        mutated = with_true_checksums(mutated)
    try:
        pixels = decode_image(mutated, MAX_PIXELS, at_least=(16, 16))
    except UnprocessableError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 1 <= pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=200), st.sampled_from([seed[:12] for seed in SEEDS] + [b""]))
def test_random_bytes_are_refused(noise: bytes, beginning: bytes) -> None:
    with pytest.raises(UnprocessableError):
        decode_image(beginning + noise, MAX_PIXELS)
