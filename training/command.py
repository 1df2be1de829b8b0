"""The command line of a kind, made from the fields of its Config."""

import shlex
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from training.errors import SettingError

Config = TypeVar("Config", bound=Any)


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes: the folder of models, the cache of downloads, the folder of this run."""

    models: Path
    cache: Path
    output: Path


def setting(
    default: Any,
    meaning: str,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A field of a Config: its default, its line of help, and what it may be."""
    metadata = {"help": meaning, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)


def reproducing_command(arguments: Sequence[str]) -> str:
    """The command line that trains the same version again: without places, and whole instead of resumed."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for place in ("--models", "--cache", "--output"):
        parser.add_argument(place)
    parser.add_argument("--resume", action="store_true")
    return shlex.join(["python", "-m", "training", *parser.parse_known_args(arguments)[1]])


def add_settings(parser: ArgumentParser, kind: type[Any]) -> None:
    """One option for each field of the Config ``kind``; an option that is not given leaves no value."""
    for item in fields(kind):
        flag = "--" + item.name.replace("_", "-")
        meaning = f"{item.metadata['help']} (default: {item.default})".replace("%", "%%")
        if isinstance(item.default, bool):
            parser.add_argument(flag, action=BooleanOptionalAction, default=SUPPRESS, help=meaning)
        else:
            parser.add_argument(
                flag, type=type(item.default), choices=item.metadata["choices"], default=SUPPRESS, help=meaning
            )


def build_config(kind: type[Config], recipes: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Config:
    """The Config of what was given, over the recipe of its architecture, over the defaults.

    Raises:
        SettingError: a number is outside of what it may be.
    """
    architecture = given.get("architecture", kind().architecture)
    config: Config = replace(kind(), **{**recipes[architecture], **given})
    check_settings(config)
    return config


def check_settings(config: Any) -> None:
    """Check every number against its bounds.

    Raises:
        SettingError: one is too small or too large.
    """
    for item in fields(config):
        value = getattr(config, item.name)
        minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
        if minimum is not None and not value >= minimum:
            raise SettingError(f"{item.name}: {value} is too small, expected {minimum} or more")
        if maximum is not None and not value <= maximum:
            raise SettingError(f"{item.name}: {value} is too large, expected {maximum} or less")
