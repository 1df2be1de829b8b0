"""Pictures of the size that the model reads, as PNG: one a request."""

import json
from pathlib import Path
from typing import Any

from benchmarks.bodies import encode_form
from benchmarks.contenders import BENTOML, UVICORN, Contender, floor, plain_bentoml, this_service
from benchmarks.images import decode, encode_png, golden_images, sample_files
from benchmarks.servers.image_model import ImageModel
from benchmarks.workloads.workload import Workload

ROUTE = "/classify"
STOCK = "benchmarks.servers.image_bentoml:Classifier"
FASTAPI = ("benchmarks.servers.image_fastapi:app",)
IMAGES = 256

CONTENDERS = (
    this_service(ROUTE, "raw"),
    Contender("modelyard-form", "this service, multipart", BENTOML, ("service.app:ModelService",), ROUTE, "multipart"),
    plain_bentoml(STOCK, ROUTE, "multipart"),
    Contender("bentoml", "stock BentoML with uvloop and httptools", BENTOML, (STOCK,), ROUTE, "multipart"),
    Contender("fastapi", "FastAPI, multipart", UVICORN, FASTAPI, ROUTE, "multipart"),
    Contender("fastapi-raw", "FastAPI, raw body", UVICORN, FASTAPI, "/classify-raw", "raw"),
    floor("raw"),
)


def open_model(version_folder: Path) -> ImageModel:
    """The classifier."""
    return ImageModel(version_folder)


def make_workloads(version_folder: Path, images: Path | None) -> list[Workload]:
    """The golden pictures, or others from the folder ``images``.

    Raises:
        ValueError: none of them has the size that the model reads.
    """
    model = ImageModel(version_folder)
    if images is None:
        files = golden_images(version_folder)
    else:
        files = [encode_png(path) for path in sample_files(images, IMAGES, seed=0)]
    width, height = model.size
    files = [file for file in files if decode(file).shape[:2] == (height, width)]
    if not files:
        raise ValueError(f"no image of {width}x{height} pixels, the size that {version_folder} reads")
    answers = [model.classify(decode(file)) for file in files]
    return [
        Workload(
            name="1 image",
            bodies={"raw": files, "multipart": [encode_form(file) for file in files]},
            read=_read_label,
            expected=[_read_label(answer) for answer in answers],
            example=json.dumps(answers[0]).encode(),
            batches=(1, 8, 32),
        )
    ]


def _read_label(answer: Any) -> object:
    return answer["predictions"][0]["label"]
