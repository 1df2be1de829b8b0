"""The generator behind FastAPI as a good engineer writes it: async handlers, pydantic, Pillow, the access log on."""

from typing import Any

from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.servers.picture_model import PictureModel, encode_by_pillow, make_grid
from benchmarks.servers.session import served_folder

app = FastAPI()
model = PictureModel(served_folder())


class Request(BaseModel):
    """How many images, of what, and by which draw."""

    count: int
    label: str
    seed: int


@app.post("/generate-image")
async def generate_image(request: Request) -> dict[str, Any]:
    """Make up images, as files in JSON."""
    images = model.generate(request.count, request.label, request.seed)
    return model.answer(request.label, request.seed, [encode_by_pillow(pixels) for pixels in images])


@app.post("/generate-grid")
async def generate_grid(request: Request) -> Response:
    """Make up images, as one."""
    grid = make_grid(model.generate(request.count, request.label, request.seed))
    return Response(encode_by_pillow(grid), media_type="image/png")
