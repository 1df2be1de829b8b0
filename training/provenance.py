"""How a version came to be, for its manifest."""

import platform
import sys
from collections.abc import Iterable, Sized
from dataclasses import asdict
from typing import Any, Protocol

import onnxruntime

from models.manifest import DataSource, Provenance
from training.command import reproducing_command
from training.hardware import describe_hardware, library_versions


class SplitData(Protocol):
    """Data in three splits, with what tells it from other data."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def train(self) -> Sized: ...  # noqa: D102

    @property
    def validation(self) -> Sized: ...  # noqa: D102

    @property
    def test(self) -> Sized: ...  # noqa: D102


def describe_source(data: SplitData) -> DataSource:
    """Where ``data`` comes from, and how many examples each split has."""
    return DataSource(
        name=data.name,
        source=data.source,
        sha256=data.sha256,
        train_examples=len(data.train),
        validation_examples=len(data.validation),
        test_examples=len(data.test),
    )


def describe_provenance(config: Any, data: DataSource, libraries: Iterable[str], seconds: float) -> Provenance:
    """The provenance of what this process trained.

    Args:
        config: the Config of its kind.
        data: what it learnt from and was tested on.
        libraries: the distributions that decide the result, beside Python and ONNX Runtime.
        seconds: how long the training took.
    """
    return Provenance(
        command=reproducing_command(sys.argv[1:]),
        seed=config.seed,
        data=data,
        settings=asdict(config),
        libraries={
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            **library_versions(libraries),
        },
        hardware=describe_hardware(),
        training_seconds=round(seconds, 3),
    )
