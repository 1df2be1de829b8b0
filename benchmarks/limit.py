"""What a request costs without HTTP: decode, infer and encode, called in one process with the fastest parts there are.

``python -m benchmarks.limit VERSION_FOLDER IMAGE_FOLDER`` prints JSON, in microseconds of CPU per image.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import kornia_rs
import numpy as np
import orjson

from benchmarks.servers.model import Model

BATCHES = (1, 8, 32)


def measure(version_folder: Path, images: list[bytes], seconds: float = 1.0) -> dict[str, float]:
    """The microseconds of CPU per image of each step, as ``decode``, ``infer_<batch>`` and ``encode``."""
    model = Model(version_folder)
    width, height = model.size
    turn = 0

    def decode() -> None:
        nonlocal turn
        turn = (turn + 1) % len(images)
        kornia_rs.io.decode_image_png_u8(images[turn], (height, width), "rgb")

    pixels = np.stack([kornia_rs.io.decode_image_png_u8(image, (height, width), "rgb") for image in images])
    batches = {batch: np.resize(pixels, (batch, *pixels.shape[1:])) for batch in BATCHES}
    probabilities = model.infer(batches[1])[0]
    costs = {"decode": _microseconds(decode, seconds)}
    for batch, rows in batches.items():
        costs[f"infer_{batch}"] = _microseconds(lambda rows=rows: model.infer(rows), seconds) / batch  # type: ignore[misc]
    costs["encode"] = _microseconds(lambda: orjson.dumps(model.answer(probabilities)), seconds)
    return costs


def _microseconds(call: Callable[[], object], seconds: float) -> float:
    for _ in range(50):
        call()
    calls = 0
    start = time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(20):
            call()
        calls += 20
    return (time.process_time() - start) / calls * 1e6


def main() -> None:
    """Measure on the prepared bodies in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version_folder", type=Path)
    parser.add_argument("image_folder", type=Path)
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted(options.image_folder.iterdir())]
    print(json.dumps(measure(options.version_folder, images)))


if __name__ == "__main__":
    main()
