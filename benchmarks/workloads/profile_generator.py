"""Made-up customers, as JSON: one or 1,000 a request, each request with a seed of its own."""

import json
from pathlib import Path
from typing import Any

from benchmarks.contenders import UVICORN, Contender, floor, plain_bentoml, this_service
from benchmarks.servers.profile_model import ProfileModel
from benchmarks.workloads.workload import Workload

ROUTE = "/generate-profiles"
SIZES = {1: (256, (1, 8, 32)), 1000: (16, (1,))}  # profiles in a request: requests, and how many the limit batches

CONTENDERS = (
    this_service(ROUTE, "json"),
    plain_bentoml("benchmarks.servers.profile_bentoml:Profiles", "/generate_profiles", "json"),
    Contender("fastapi", "FastAPI", UVICORN, ("benchmarks.servers.profile_fastapi:app",), ROUTE, "json"),
    floor("json"),
)


def open_model(version_folder: Path) -> ProfileModel:
    """The generator."""
    return ProfileModel(version_folder)


def make_workloads(version_folder: Path, images: Path | None) -> list[Workload]:  # noqa: ARG001  # there are none
    """Seeds that follow each other. Draws differ from server to server, so that answers are compared by their form."""
    model = ProfileModel(version_folder)
    workloads = []
    for size, (requests, batches) in SIZES.items():
        example = model.generate(size, seed=0)
        workloads.append(
            Workload(
                name="1 profile" if size == 1 else f"{size:,} profiles",
                bodies={"json": [json.dumps({"count": size, "seed": seed}).encode() for seed in range(requests)]},
                read=_read_form,
                expected=[_read_form(example)] * requests,
                example=json.dumps(example).encode(),
                batches=batches,
            )
        )
    return workloads


def _read_form(answer: Any) -> object:
    profiles = answer["profiles"]
    return len(profiles), sorted({name for profile in profiles for name in profile})
