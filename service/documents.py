"""What the service answers beside predictions, as pydantic models: for the description, and for clients' types."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from models.manifest import Manifest

VersionState = Literal["serving", "canary", "shadow", "loaded", "loading", "refused", "not loaded"]


class ProblemEntry(BaseModel):
    """One thing that is wrong, and where."""

    location: str = Field(examples=["query.top_k"])
    message: str = Field(examples=["11, expected 1 to 10"])


class Problem(BaseModel):
    """A failure (RFC 9457)."""

    type: Literal["about:blank"]
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["query.top_k: 11, expected 1 to 10"])
    errors: list[ProblemEntry] = Field(default=[], description="What is wrong where, if it has a place in the request.")
    request_id: str = Field(examples=["5f0c2e9a41d7-1"])
    error: str | None = Field(default=None, description="The detail once more, below `/v2`, where clients look for it.")


class VersionSummary(BaseModel):
    """One version of a kind of model, and its part."""

    version: str = Field(examples=["2"])
    state: VersionState = Field(description="`serving` is the default version.")
    reason: str = Field(description="Why the version was refused, or the change of its files was.")


class Version(VersionSummary):
    """One version of a kind of model. What describes a model is there for those that are loaded."""

    provider: str = Field(default="", description="Where the model runs: cpu, cuda or tensorrt.")
    created: datetime | None = None
    task: str = ""
    description: str = ""
    architecture: str = ""
    parameters: int = 0
    metrics: dict[str, JsonValue] = Field(default={}, description="As measured on the test split.")


class CanaryPart(BaseModel):
    """A version that answers a share of the requests that ask for no version."""

    version: str
    share: float


class ServedVersions(BaseModel):
    """What is to serve a kind of model, and what does."""

    kind: str
    default_version: str | None = Field(description="The version that answers where none is asked for.")
    pinned: bool = Field(description="Whether the default version was set: it is the newest otherwise.")
    previous_version: str | None = Field(description="The version that a rollback goes to.")
    canary: CanaryPart | None
    shadow_version: str | None
    versions: Sequence[VersionSummary]


class KindSummary(ServedVersions):
    """One kind of model and its versions, oldest first."""

    route: str
    versions: list[Version]


class ServedManifest(Manifest):
    """The manifest of the default version, and the state of all versions."""

    versions: list[VersionSummary]


class Models(BaseModel):
    """Every kind of model that the service knows."""

    models: list[KindSummary]


class Liveness(BaseModel):
    """Open Inference Protocol: the process answers."""

    live: Literal[True]


class Readiness(BaseModel):
    """Open Inference Protocol: every model is loaded."""

    ready: Literal[True]


class ModelReadiness(Readiness):
    """Open Inference Protocol: a model can be asked."""

    name: str


class ServerMetadata(BaseModel):
    """Open Inference Protocol: what the server is, and which extensions it has."""

    name: str
    version: str
    extensions: list[str] = Field(examples=[["binary_tensor_data"]])


class TensorMetadata(BaseModel):
    """Open Inference Protocol: an input or an output; a size that varies is -1."""

    name: str
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[-1, 10]])


class ModelMetadata(BaseModel):
    """Open Inference Protocol: what a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexEntry(BaseModel):
    """Open Inference Protocol: a version that is on disk."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str
