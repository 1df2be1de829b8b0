"""Made-up images: one or 16 a request as files in JSON, 64 as a grid; each with a label and a seed of its own."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from benchmarks.contenders import UVICORN, Contender, floor, plain_bentoml, this_service
from benchmarks.servers.picture_model import GRID_IMAGES, PictureModel
from benchmarks.workloads.workload import Workload

ROUTE: Final = "/generate-image"


class Size(NamedTuple):
    """How many images a request asks for, of how many requests, and how many of these the limit batches."""

    images: int
    requests: int
    batches: tuple[int, ...]


GRID: Final = f"a grid of {GRID_IMAGES} images"
SIZES: Final[Mapping[str, Size]] = {
    "1 image": Size(1, 256, (1, 8, 32)),
    "16 images": Size(16, 64, (1, 4)),
    GRID: Size(GRID_IMAGES, 16, (1,)),
}

CONTENDERS: Final = (
    this_service(ROUTE, "json"),
    plain_bentoml("benchmarks.servers.picture_bentoml:Pictures", "/generate_image", "json", {GRID: "/generate_grid"}),
    Contender(
        *("fastapi", "FastAPI", UVICORN, ("benchmarks.servers.picture_fastapi:app",), ROUTE, "json"),
        routes={GRID: "/generate-grid"},
    ),
    floor("json"),
)


def open_model(version_folder: Path) -> PictureModel:
    """The generator."""
    return PictureModel(version_folder)


def make_workloads(version_folder: Path, images: Path | None) -> list[Workload]:  # noqa: ARG001  # there are none
    """Seeds that are apart from each other, and labels in turns."""
    model = PictureModel(version_folder)
    workloads = []
    for name, size in SIZES.items():
        requests = [
            {"count": size.images, "label": model.labels[place % len(model.labels)], "seed": 1000 * place}
            for place in range(size.requests)
        ]
        bodies = [json.dumps(request).encode() for request in requests]
        contents = [model.decode(body) for body in bodies]
        answers = [model.encode(content, model.infer(content.inputs)) for content in contents]
        is_grid = name == GRID
        workloads.append(
            Workload(
                name=name,
                bodies={"json": bodies},
                read=_read_pixels if is_grid else _read_images,
                expected=[_read_pixels(answer) if is_grid else _read_images(json.loads(answer)) for answer in answers],
                example=answers[0],
                batches=size.batches,
                accept="image/png" if is_grid else None,
            )
        )
    return workloads


def _read_images(answer: Any) -> object:
    images = answer["images"]
    return [(image["seed"], image["label"], _read_pixels(base64.b64decode(image["png"]))) for image in images]


def _read_pixels(file: bytes) -> tuple[tuple[int, ...], bytes]:
    """The shape and the values of a PNG file's pixels."""
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{len(file)} bytes that begin with {file[:8]!r}: no picture")
    return pixels.shape, pixels.tobytes()
