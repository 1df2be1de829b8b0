"""What the service answers beside predictions, as pydantic models: for the description, and for clients' types."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue


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


class Version(BaseModel):
    """One version of a kind of model. What describes a model is there for those that are ready."""

    version: str = Field(examples=["2"])
    state: Literal["ready", "refused", "not loaded"]
    reason: str = Field(default="", description="Why the version was refused.")
    provider: str = Field(default="", description="Where the model runs: cpu, cuda or tensorrt.")
    created: datetime | None = None
    task: str = ""
    description: str = ""
    architecture: str = ""
    parameters: int = 0
    metrics: dict[str, JsonValue] = Field(default={}, description="As measured on the test split.")


class KindSummary(BaseModel):
    """One kind of model and its versions, oldest first."""

    kind: str
    route: str
    default_version: str | None = Field(description="The version that answers where none is asked for.")
    versions: list[Version]


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
    state: Literal["READY", "UNAVAILABLE"]
    reason: str
