"""What a training says of the machine it ran on."""

import re
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from training.hardware import describe_hardware, library_versions


def test_the_description_has_cores_memory_and_gpus() -> None:
    pattern = r".+, [1-9]\d* cores(, (amx_bf16|avx512_bf16|avx512_f|avx2))*, [1-9]\d* GiB; (no GPU|.+ with \d+ GiB)"
    assert re.fullmatch(pattern, describe_hardware())


def test_versions_are_those_installed() -> None:
    assert library_versions(["torch"]) == {"torch": torch.__version__.partition("+")[0]}


def test_a_library_that_is_not_installed_is_named() -> None:
    with pytest.raises(PackageNotFoundError, match="no-such-library"):
        library_versions(["torch", "no-such-library"])
