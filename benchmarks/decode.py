"""What decoding a picture costs, by decoder: ``python -m benchmarks.decode``.

Prints the median CPU microseconds for each picture and decoder, the ratio to Pillow, how far the pixels are
from Pillow's, whether other Python threads run meanwhile, what it costs to hand a picture to a thread,
and what scaled decoding does to the 32 x 32 pixels that a network reads. One process, one thread; OpenCV
is held to one thread too.
"""

import asyncio
import io
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
import uvloop
from kornia_rs.io import ImageDecoder, decode_image_png_u8
from PIL import Image, ImageOps

from models.image import ImagePreprocessing, Pixels, fit_image
from service.images import decode_image, image_size

Decoder = Callable[[bytes], Pixels]

CAT = Path(__file__).parents[1] / "tests" / "samples" / "images" / "cat.jpg"
MAX_PIXELS = 40_000_000
SECONDS_PER_ROW = 0.5
ROUNDS = 5
NETWORK = ImagePreprocessing(height=32, width=32, channels=3)
COVER = 16
AT_LEAST = (COVER * NETWORK.height, COVER * NETWORK.width)


def pictures() -> dict[str, bytes]:
    """One real photograph at the sizes that clients send; the largest with the noise of a sensor."""
    photograph = Image.open(CAT).convert("RGB")
    small = photograph.resize((32, 32), Image.Resampling.LANCZOS)
    middle = photograph.resize((500, 400), Image.Resampling.LANCZOS)
    large = np.asarray(photograph.resize((4000, 3000), Image.Resampling.BICUBIC)).astype(np.float32)
    large += np.random.default_rng(0).normal(0, 6, large.shape).astype(np.float32)
    camera = Image.fromarray(np.clip(large, 0, 255).astype(np.uint8))
    portrait = Image.Exif()
    portrait[0x0112] = 6  # orientation: turn clockwise
    return {
        "PNG 32x32": encode(small, "PNG"),
        "PNG 28x28 grey": encode(small.convert("L").resize((28, 28)), "PNG"),
        "PNG 500x400": encode(middle, "PNG"),
        "JPEG 32x32": encode(small, "JPEG", quality=90),
        "JPEG 500x400": encode(middle, "JPEG", quality=90),
        "JPEG 500x400 progressive": encode(middle, "JPEG", quality=90, progressive=True),
        "JPEG 4000x3000 with EXIF": encode(camera, "JPEG", quality=92, exif=portrait),
        "WebP 32x32 lossless": encode(small, "WEBP", lossless=True),
        "WebP 500x400": encode(middle, "WEBP", quality=85),
        "BMP 32x32": encode(small, "BMP"),
        "GIF 32x32": encode(small.quantize(256), "GIF"),
    }


def encode(picture: Image.Image, file_format: str, **options: object) -> bytes:
    """The bytes of ``picture`` as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def by_pillow(body: bytes) -> Pixels:
    """As one decodes with Pillow alone."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGB"))


def by_pillow_scaled(body: bytes) -> Pixels:
    """Pillow's own scaled decoding of JPEG."""
    picture = Image.open(io.BytesIO(body))
    picture.draft("RGB", AT_LEAST)
    return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def by_opencv(body: bytes) -> Pixels:
    """OpenCV, RGB order."""
    return np.asarray(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def by_kornia_png(body: bytes) -> Pixels:
    """The PNG decoder of kornia-rs; it asks for the size."""
    mode = "rgb" if body[25] == 2 else "mono"
    pixels: Pixels = decode_image_png_u8(body, image_size(body), mode)
    return pixels if mode == "rgb" else np.repeat(pixels, 3, axis=2)


def by_kornia_jpeg(body: bytes) -> Pixels:
    """The binding of libjpeg-turbo in kornia-rs."""
    pixels: Pixels = ImageDecoder().decode(body)
    return pixels


def by_simplejpeg(body: bytes) -> Pixels:
    """The binding of libjpeg-turbo in simplejpeg."""
    pixels: Pixels = simplejpeg.decode_jpeg(body)
    return pixels


def by_service(body: bytes) -> Pixels:
    """The service, every pixel."""
    return decode_image(body, MAX_PIXELS)


def by_service_scaled(body: bytes) -> Pixels:
    """The service, where the network reads 32 x 32."""
    return decode_image(body, MAX_PIXELS, at_least=AT_LEAST)


def decoders_of(name: str) -> dict[str, Decoder]:
    """The decoders that take this picture."""
    chosen: dict[str, Decoder] = {"Pillow": by_pillow, "OpenCV": by_opencv}
    if name.startswith("PNG"):
        chosen["kornia-rs"] = by_kornia_png
    if name.startswith("JPEG"):
        chosen |= {"kornia-rs": by_kornia_jpeg, "simplejpeg": by_simplejpeg, "Pillow, scaled": by_pillow_scaled}
    return chosen | {"service": by_service, "service, scaled": by_service_scaled}


def median_microseconds(decoders: dict[str, Decoder], body: bytes) -> dict[str, float]:
    """The median CPU time of each decoder's calls, in turns: a busy machine changes little, and for all alike."""
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(ROUNDS):
        for name, decode in decoders.items():
            decode(body)
            end = time.perf_counter() + SECONDS_PER_ROW / ROUNDS
            while not times[name] or time.perf_counter() < end:
                start = time.thread_time()
                decode(body)
                times[name].append(time.thread_time() - start)
    return {name: statistics.median(taken) * 1e6 for name, taken in times.items()}


def difference(pixels: Pixels, expected: Pixels) -> str:
    """The largest difference in levels, or the shape where it is another."""
    if pixels.shape != expected.shape:
        return "x".join(map(str, (pixels.shape[1], pixels.shape[0])))
    return str(int(np.abs(pixels.astype(int) - expected.astype(int)).max()))


def lets_threads_run(decode: Decoder, body: bytes) -> bool:
    """Whether another Python thread gets to run during a decode when nobody is made to yield."""
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    thread = threading.Thread(target=tick)
    thread.start()
    inside = 0
    for _ in range(20):
        time.sleep(0.001)
        start = time.perf_counter()
        decode(body)
        end = time.perf_counter()
        margin = (end - start) / 10  # entering and leaving C is Python too
        inside += any(start + margin < moment < end - margin for moment in ticks[-5000:])
    done.set()
    sys.setswitchinterval(interval)
    thread.join()
    return inside > 1


async def thread_microseconds() -> float:
    """What it costs to run nothing in a thread and come back to the event loop."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    for _ in range(3000):
        start = time.perf_counter()
        await loop.run_in_executor(None, int)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def scaled_effect() -> None:
    """What scaled decoding changes in the pixels that the network reads."""
    photograph = Image.open(CAT).convert("RGB")
    print("\nScaled decoding, then fit_image to 32 x 32: difference in levels from decoding every pixel")
    print(f"{'JPEG of':>14s} {'covering':>9s} {'decoded to':>12s} {'max':>5s} {'mean':>6s}")
    for width, height in ((300, 260), (451, 300), (640, 480), (1280, 960), (1999, 1333), (4000, 3000)):
        body = encode(photograph.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=90)
        exact = fit_image(by_service(body), NETWORK).astype(int)
        for cover in (4, 8, 16):
            scaled = decode_image(body, MAX_PIXELS, at_least=(cover * NETWORK.height, cover * NETWORK.width))
            change = np.abs(fit_image(scaled, NETWORK).astype(int) - exact)
            size = f"{scaled.shape[1]:>6d}x{scaled.shape[0]:<5d}"
            print(f"{width:>8d}x{height:<5d} {cover:>8d}x {size} {change.max():>5d} {change.mean():6.2f}")


def main() -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    print(f"{'picture':26s} {'bytes':>9s} {'decoder':16s} {'us':>10s} {'Pillow / it':>11s} {'differs by':>10s}  GIL")
    for name, body in pictures().items():
        expected = by_pillow(body)
        decoders = decoders_of(name)
        microseconds = median_microseconds(decoders, body)
        for decoder, decode in decoders.items():
            gil = "" if "32x32" in name or "28x28" in name else "free" if lets_threads_run(decode, body) else "held"
            ratio = microseconds["Pillow"] / microseconds[decoder]
            print(
                f"{name:26s} {len(body):>9,d} {decoder:16s} {microseconds[decoder]:>10,.1f} {ratio:>11.2f} "
                f"{difference(decode(body), expected):>10s}  {gil}",
                flush=True,
            )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(f"\nA thread and back on uvloop: {runner.run(thread_microseconds()):.0f} us")
    scaled_effect()


if __name__ == "__main__":
    main()
