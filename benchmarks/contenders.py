"""The servers that are measured: how each is started and how it takes a request."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bodies import Form
from benchmarks.servers.floor import ANSWERS_VARIABLE
from benchmarks.servers.session import FOLDER_VARIABLE

WITHOUT_UVLOOP = Path(__file__).parent / "servers" / "without_uvloop"

BENTOML = (sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port")
UVICORN = (sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port")


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    ``answers`` is whether it runs the model, so that its answers can be checked. ``routes`` are those of workloads, by
    name, that have another than ``route``.
    """

    name: str
    title: str
    launcher: Sequence[str]
    target: Sequence[str]
    route: str
    form: Form
    answers: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)

    def command(self, port: int) -> list[str]:
        """What starts it on ``port``."""
        return [*self.launcher, str(port), *self.target]


THIS_SERVICE = "modelyard"
FLOOR = "floor"


def this_service(route: str, form: Form) -> Contender:
    """The service with its default settings."""
    return Contender(THIS_SERVICE, "this service", BENTOML, ("service.app:ModelService",), route, form)


def plain_bentoml(target: str, route: str, form: Form, routes: Mapping[str, str] | None = None) -> Contender:
    """A stock BentoML service where pip has installed BentoML and nothing else."""
    title = "stock BentoML, as pip installs it (asyncio, h11)"
    environment = {"PYTHONPATH": str(WITHOUT_UVLOOP)}
    return Contender(
        "bentoml-plain", title, BENTOML, (target,), route, form, environment=environment, routes=routes or {}
    )


def floor(form: Form) -> Contender:
    """What the HTTP server alone costs."""
    target = ("--no-access-log", "benchmarks.servers.floor:app")
    return Contender(FLOOR, "the floor: bare ASGI, no model", UVICORN, target, "/", form, answers=False)


def environment(contender: Contender, models: Path, version_folder: Path, answers: Path, home: Path) -> dict[str, str]:
    """What a server finds in its environment: the same model for all."""
    return {
        "MODELYARD_MODELS": str(models),
        FOLDER_VARIABLE: str(version_folder),
        ANSWERS_VARIABLE: str(answers),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        **contender.environment,
    }
