from collections.abc import Sequence

import pytest

from benchmarks.limit import measure


class Steps:
    """Counts what it is asked: a body is a number of bytes."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def decode(self, body: bytes) -> int:
        return len(body)

    def stack(self, contents: Sequence[int]) -> list[int]:
        return list(contents)

    def infer(self, inputs: list[int]) -> list[int]:
        self.batches.append(inputs)
        return inputs

    def encode(self, content: int, outputs: list[int]) -> bytes:
        return bytes(outputs[:content])


@pytest.mark.parametrize("batch", [1, 4])
def test_batches_are_of_like_requests_and_every_request_is_in_as_many(batch: int) -> None:
    model = Steps()
    bodies = [b"x" * size for size in (9, 1, 50, 3, 8, 2, 51, 52, 4, 53, 7, 10)]
    measure(model, bodies, [batch], seconds=0.01)
    asked = model.batches[1:]  # the first is for the answer to encode
    whole = asked[: len(asked) // (len(bodies) // batch) * (len(bodies) // batch)]
    assert len(whole) >= len(bodies) // batch
    counts = {len(body): sum(inputs.count(len(body)) for inputs in whole) for body in bodies}
    assert len(set(counts.values())) == 1
    assert all(max(inputs) < 50 or min(inputs) >= 50 for inputs in asked)


def test_every_step_has_a_cost() -> None:
    costs = measure(Steps(), [b"a", b"bb"], [1, 8], seconds=0.01)
    assert list(costs) == ["decode", "infer_1", "infer_8", "encode"]
    assert min(costs.values()) > 0
