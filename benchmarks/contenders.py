"""The servers that are measured: how each is started and how it takes an image."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.servers.model import FOLDER_VARIABLE

WITHOUT_UVLOOP = Path(__file__).parent / "servers" / "without_uvloop"

_BENTOML = (sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port")
_UVICORN = (sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port")


@dataclass(frozen=True)
class Contender:
    """One row of the table. ``answers`` is whether it runs the model, so that its answers can be checked."""

    name: str
    title: str
    launcher: Sequence[str]
    target: Sequence[str]
    route: str = "/classify"
    form: Literal["raw", "multipart"] = "raw"
    answers: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, port: int) -> list[str]:
        """What starts it on ``port``."""
        return [*self.launcher, str(port), *self.target]


THIS_SERVICE = "modelyard"
FLOOR = "floor"

CONTENDERS = (
    Contender(THIS_SERVICE, "this service", _BENTOML, ("service.app:ModelService",)),
    Contender(
        "bentoml-plain",
        "stock BentoML, as pip installs it (asyncio, h11)",
        _BENTOML,
        ("benchmarks.servers.stock_bentoml:Classifier",),
        form="multipart",
        environment={"PYTHONPATH": str(WITHOUT_UVLOOP)},
    ),
    Contender(
        "bentoml",
        "stock BentoML with uvloop and httptools",
        _BENTOML,
        ("benchmarks.servers.stock_bentoml:Classifier",),
        form="multipart",
    ),
    Contender("fastapi", "FastAPI, multipart", _UVICORN, ("benchmarks.servers.fastapi_server:app",), form="multipart"),
    Contender(
        "fastapi-raw", "FastAPI, raw body", _UVICORN, ("benchmarks.servers.fastapi_server:app",), route="/classify-raw"
    ),
    Contender(
        FLOOR,
        "the floor: bare ASGI, no model",
        _UVICORN,
        ("--no-access-log", "benchmarks.servers.floor:app"),
        answers=False,
    ),
)


def environment(contender: Contender, models: Path, version_folder: Path, home: Path) -> dict[str, str]:
    """What a server finds in its environment: the same model for all."""
    return {
        "MODELYARD_MODELS": str(models),
        FOLDER_VARIABLE: str(version_folder),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        **contender.environment,
    }
