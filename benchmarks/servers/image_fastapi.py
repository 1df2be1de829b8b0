"""The model behind FastAPI as a good engineer writes it: async handlers, Pillow, the access log left on."""

import io
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, UploadFile
from PIL import Image

from benchmarks.servers.image_model import ImageModel
from benchmarks.servers.session import served_folder

app = FastAPI()
model = ImageModel(served_folder())


def classify(body: bytes) -> dict[str, Any]:
    """A file's bytes -> the answer's JSON."""
    with Image.open(io.BytesIO(body)) as image:
        pixels = np.asarray(image.convert("RGB").resize(model.size))
    return model.classify(pixels)


@app.post("/classify")
async def classify_upload(image: UploadFile) -> dict[str, Any]:
    """The image as a multipart part."""
    return classify(await image.read())


@app.post("/classify-raw")
async def classify_raw(request: Request) -> dict[str, Any]:
    """The image as the body."""
    return classify(await request.body())
