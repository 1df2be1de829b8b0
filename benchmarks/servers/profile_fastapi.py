"""The generator behind FastAPI as a good engineer writes it: an async handler, pydantic, the access log left on."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers.profile_model import ProfileModel
from benchmarks.servers.session import served_folder

app = FastAPI()
model = ProfileModel(served_folder())


class Request(BaseModel):
    """How many profiles, and by which draw."""

    count: int
    seed: int


@app.post("/generate-profiles")
async def generate_profiles(request: Request) -> dict[str, Any]:
    """Make up customers."""
    return model.generate(request.count, request.seed)
