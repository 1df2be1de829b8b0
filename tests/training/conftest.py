import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from matplotlib.figure import Figure

# On nets as small as the tests', threads cost more than they give; processes that a test starts inherit it.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Each test trains as a process of its own would: accelerate keeps the first settings of a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    drawn: list[Figure] = []

    def make(**options: Any) -> Figure:
        drawn.append(Figure(**options))
        return drawn[-1]

    monkeypatch.setattr("training.drawing.Figure", make)
    return drawn
