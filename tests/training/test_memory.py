"""A training keeps the memory that it frees."""

import os
import platform
import subprocess
import sys

import pytest

# Counts the pages that a step must wait for once the steps before have taken all that is needed.
STEPS = """
import resource, sys
from training.memory import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
import torch
def step():
    first = torch.ones(16 * 2**20)
    return (first * 2.0).sum()
for _ in range(10):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(memory: str) -> int:
    # Who runs the tests may have switched huge pages on.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", STEPS, memory]
    return int(subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_is_kept_is_not_waited_for_again() -> None:
    assert count_faults("kept") < count_faults("given back") / 10
