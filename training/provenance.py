"""How a version came to be, for its manifest."""

import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import onnxruntime

from models.manifest import DataSource, Provenance
from training.command import reproducing_command
from training.hardware import describe_hardware, library_versions


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
