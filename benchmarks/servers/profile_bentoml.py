"""The generator as BentoML's documentation shows a service: a class, a typed method."""

from typing import Any

import bentoml

from benchmarks.servers.profile_model import ProfileModel
from benchmarks.servers.session import served_folder


@bentoml.service
class Profiles:
    """The stock service, with nothing changed from the defaults."""

    def __init__(self) -> None:
        self.model = ProfileModel(served_folder())

    @bentoml.api  # type: ignore[untyped-decorator]
    def generate_profiles(self, count: int, seed: int) -> dict[str, Any]:
        """Make up customers."""
        return self.model.generate(count, seed)
