"""The settings of the service: read once at the start, from the environment and an optional file, then frozen."""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

PREFIX: Final = "MODELYARD_"
FILE_VARIABLE: Final = "MODELYARD_SETTINGS_FILE"
MODELS_FOLDER: Final = Path(__file__).resolve().parent.parent / "models"


class SettingsError(Exception):
    """A setting that stops the start. The message names the setting, its value and what was expected."""


def _split(value: object) -> object:
    """The names in a text that separates them by commas, as environment variables do."""
    if isinstance(value, str):
        return tuple(filter(None, (name.strip() for name in value.split(","))))
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Canary(BaseModel):
    """A version that answers a share of the requests that ask for no version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int = Field(ge=1)
    share: float = Field(gt=0, le=1, description="Of the requests that name no version.")


class Settings(BaseSettings):
    """Everything that can be set. Each field is the variable ``MODELYARD_<FIELD>``, or a key of the settings file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models: Path = Field(default=MODELS_FOLDER, description="The folder of models, <kind>/<version>/ below it.")
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        default="auto",
        description="Where the models run. auto: CUDA where it works, else the CPU; cuda, tensorrt: that or no start.",
    )
    intra_op_threads: int = Field(default=1, ge=1, le=256, description="The threads that one run uses on the CPU.")
    max_batch_rows: int = Field(default=64, ge=1, le=4096, description="The rows that one run takes at most.")
    max_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        le=2**24,
        description="The tokens that one run takes at most, each text counted as the longest: 2,048 on the CPU if not "
        "given; on a GPU the rows alone count.",
    )
    max_queue_rows: int = Field(default=1024, ge=1, le=1_000_000, description="The rows that may wait for a run.")
    max_items: int = Field(default=64, ge=1, le=4096, description="The items in one request.")
    max_body_bytes: int = Field(default=10 * 2**20, ge=1024, le=2**30, description="The bytes of a request's body.")
    max_pending_bytes: int = Field(
        default=512 * 2**20, ge=1024, description="The bytes of all bodies that are being read or answered."
    )
    max_pixels: int = Field(default=40_000_000, ge=1, le=2**30, description="The pixels of one image.")
    max_text_characters: int = Field(default=20_000, ge=1, le=2**24, description="The characters of one text.")
    max_profiles: int = Field(default=100_000, ge=1, le=10_000_000, description="The profiles that one request makes.")
    max_images: int = Field(default=1_000, ge=1, le=1_000_000, description="The images that one request makes.")
    max_queue_explanations: int = Field(
        default=256, ge=1, le=1_000_000, description="The predictions that may wait to be explained."
    )
    cache_bytes: int = Field(
        default=0, ge=0, le=2**40, description="The bytes of answers that are kept for who asks the same; 0: none."
    )
    deadline_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="How long a request may take, from its headers to its answer."
    )
    # Which versions serve.
    watch_seconds: float = Field(
        default=2.0, ge=0.05, le=3600, description="How often the folder of models and the state are looked at."
    )
    loaded_versions: int = Field(
        default=2, ge=1, le=100, description="The versions of a kind that stay loaded without being asked for."
    )
    pin: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default={}, description="The default version by kind, where it is not to be the newest."
    )
    canary: dict[str, Canary] = Field(
        default={}, description="By kind, the version that answers a share of the requests that name none."
    )
    shadow: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default={}, description="By kind, the version whose answers are compared with the default's and not sent."
    )
    state: Path | None = Field(
        default=None, description="The folder that keeps what administrators set, for all processes and restarts."
    )
    admin_open: bool = Field(
        default=False, description="Let everybody do what administrators may: for tests and private networks."
    )
    # What is watched.
    drift_rows: int = Field(
        default=10_000,
        ge=1_000,
        le=10_000_000,
        description="The last rows of a version that are compared with what it has seen in training.",
    )
    drift_share: float = Field(
        default=0.0025,
        ge=0,
        le=1,
        description="The share of a worker's time that this may take; 0: nothing is watched, 1: every row counts.",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least level that the log holds; a request's line is INFO."
    )
    log_format: Literal["readable", "json"] = Field(default="readable", description="The form of the log's lines.")
    # The log of predictions, for audits.
    audit_log: Path | None = Field(
        default=None, description="The file that predictions are logged to; none by default."
    )
    audit_share: float = Field(default=1.0, gt=0, le=1, description="Of the predictions, those that are logged.")
    audit_max_bytes: int = Field(
        default=100 * 2**20, ge=4096, description="The bytes of that file, which is then put aside."
    )
    audit_files: int = Field(default=4, ge=1, le=1000, description="How many files that were put aside are kept.")
    audit_inputs: bool = Field(default=False, description="Whether what was sent is logged too, as it came.")

    # Who may ask, how often, and by which way.
    keys: Path | None = Field(default=None, description="The file of API keys; without it the service is open to all.")
    rate_limit_per_second: float = Field(
        default=0.0,
        ge=0,
        description="The requests that one key, or else one address, may send; 0: as many as it likes.",
    )
    rate_limit_burst: int = Field(default=20, ge=1, le=1_000_000, description="How many of these may come at once.")
    trusted_proxies: Names = Field(
        default=(), description="Networks of proxies whose X-Forwarded-For is believed, separated by commas."
    )
    allowed_origins: Names = Field(
        default=(), description="Origins whose pages may ask (CORS), separated by commas; *: any. None by default."
    )
    tls_certificate: Path | None = Field(default=None, description="The certificate chain, PEM: HTTPS instead of HTTP.")
    tls_key: Path | None = Field(default=None, description="The private key of the certificate, PEM.")
    admin_port: int | None = Field(
        default=None, ge=1, le=65535, description="Where metrics and administration are, and nowhere else."
    )
    admin_host: str = Field(default="127.0.0.1", description="The address of that port.")
    grpc_port: int = Field(
        default=0, ge=0, le=65535, description="Where the Open Inference Protocol is spoken by gRPC; 0: nowhere."
    )
    grpc_host: str = Field(default="127.0.0.1", description="The address of that port.")

    # How many processes, and how they end.
    workers: int = Field(default=1, ge=1, le=256, description="The processes that serve, each with all models.")
    keep_alive_seconds: float = Field(
        default=75.0,
        gt=0,
        le=86_400,
        description="How long a connection may rest between an answer and the next request. Where a balancer keeps "
        "connections, for longer than it does: or it sends requests on those that are just being closed.",
    )
    drain_seconds: float = Field(
        default=0.0, ge=0, le=3600, description="From the signal to stop, and /readyz failing, to no new connections."
    )
    finish_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="How long after that requests may take to be answered."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _name_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            ipaddress.ip_network(name)
        return value

    @property
    def has_administrators(self) -> bool:
        """Whether there is a way in for administrators alone, or everybody is one."""
        return self.keys is not None or self.admin_port is not None or self.admin_open

    @model_validator(mode="after")
    def _have_both_or_neither(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key: expected both or neither")
        return self

    @field_validator("max_pending_bytes")
    @classmethod
    def _hold_a_body(cls, value: int, info: ValidationInfo) -> int:
        if "max_body_bytes" in info.data and value < info.data["max_body_bytes"]:
            raise ValueError(f"should be at least max_body_bytes, {info.data['max_body_bytes']}")
        return value


def load_settings() -> Settings:
    """Read the settings: the environment first, then the TOML file that ``MODELYARD_SETTINGS_FILE`` names, if any.

    Raises:
        SettingsError: a setting is unknown or has a value that it cannot have, or the file cannot be read.
    """
    variables = {name.upper(): name for name in os.environ if name.upper().startswith(PREFIX)}
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {FILE_VARIABLE}
    for variable, name in sorted(variables.items()):
        if variable not in known:
            raise SettingsError(f"{name}='{os.environ[name]}': no such setting{_suggest(variable, known)}")
    path = os.environ.get(FILE_VARIABLE)
    content = _read_file(path) if path is not None else {}
    in_file = {field: value for field, value in content.items() if PREFIX + field.upper() not in variables}
    try:
        return Settings(**in_file)
    except UnreadableError as error:
        found = re.search(r'field "(\w+)"', str(error))
        name = PREFIX + found[1].upper() if found else PREFIX
        raise SettingsError(f"{name}='{os.environ.get(variables.get(name, name))}': expected JSON") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if not problem["loc"]:
            raise SettingsError(problem["msg"]) from error
        field = str(problem["loc"][0])
        where = f"{path}: {field}" if field in in_file else PREFIX + field.upper()
        where += "".join(f".{part}" for part in problem["loc"][1:])
        raise SettingsError(f"{where}='{problem['input']}': {problem['msg']}") from error


def _read_file(path: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{FILE_VARIABLE}='{path}': cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE_VARIABLE}='{path}': expected TOML: {error}") from error
    for key, value in content.items():
        if key not in Settings.model_fields:
            raise SettingsError(f"{path}: {key}='{value}': no such setting{_suggest(key, Settings.model_fields)}")
    return content


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f", did you mean {close[0]}?" if close else f", expected one of {', '.join(sorted(known))}"
