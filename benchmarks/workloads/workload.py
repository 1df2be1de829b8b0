"""What all servers of one table are asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bodies import Bodies


@dataclass(frozen=True)
class Workload:
    """Requests of one kind and size.

    Args:
        name: what one request asks for, as in ``64 customers``.
        bodies: the requests' bodies.
        read: what of an answer is compared: of its JSON, or of its bytes where it has another form.
        expected: what ``read`` gives of the right answers, one for each body.
        example: an answer, which the floor gives to every request.
        batches: how many requests the limit puts into one run.
        accept: the form that answers are asked for in, where it is not JSON.
    """

    name: str
    bodies: Bodies
    read: Callable[[Any], object]
    expected: Sequence[object]
    example: bytes
    batches: Sequence[int]
    accept: str | None = None

    @property
    def slug(self) -> str:
        """The name, for files and addresses."""
        return self.name.replace(" ", "-").replace(",", "")
