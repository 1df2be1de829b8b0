import os
from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

# On nets as small as the tests', threads cost more than they give; processes that a test starts inherit it.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Each test trains as a process of its own would: accelerate keeps the first settings of a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
