"""The settings of the service: read once at the start, from the environment and an optional file, then frozen."""

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "MODELYARD_"
FILE_VARIABLE: Final = "MODELYARD_SETTINGS_FILE"
MODELS_FOLDER: Final = Path(__file__).resolve().parent.parent / "models"


class SettingsError(Exception):
    """A setting that stops the start. The message names the setting, its value and what was expected."""


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
    max_queue_explanations: int = Field(
        default=256, ge=1, le=1_000_000, description="The predictions that may wait to be explained."
    )
    deadline_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="How long a request may take, from its headers to its answer."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least level that the log holds; a request's line is INFO."
    )
    log_format: Literal["readable", "json"] = Field(default="readable", description="The form of the log's lines.")

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
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = str(problem["loc"][0])
        where = f"{path}: {field}" if field in in_file else PREFIX + field.upper()
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
