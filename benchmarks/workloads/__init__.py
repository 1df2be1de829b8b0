"""The kinds of models that are measured: their requests, and the servers that answer them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.contenders import Contender
from benchmarks.servers.session import Steps
from benchmarks.workloads import churn, image_classifier, image_generator, profile_generator, sentiment
from benchmarks.workloads.workload import Workload


class Kind(Protocol):
    """What a file in this folder has."""

    @property
    def CONTENDERS(self) -> Sequence[Contender]: ...  # noqa: D102, N802

    def open_model(self, version_folder: Path) -> Steps:
        """A version's model, for the limit."""

    def make_workloads(self, version_folder: Path, images: Path | None) -> list[Workload]:
        """The requests of each size. ``images`` is a folder of pictures to send in place of the golden requests."""


KINDS: Mapping[str, Kind] = {
    "churn": churn,
    "image_classifier": image_classifier,
    "image_generator": image_generator,
    "profile_generator": profile_generator,
    "sentiment": sentiment,
}
