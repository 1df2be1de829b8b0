"""Which versions of one kind answer, and which part each has."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from service.comparison import Comparison
from service.runtime import Model

Part = Literal["default", "canary", "shadow", "loaded"]


class Serving(NamedTuple):
    """The versions of one kind that are loaded. It is replaced as a whole, so that a request sees one state of it."""

    default: Model
    versions: Mapping[int, Model]
    canary: Model | None = None
    canary_share: float = 0.0
    comparison: Comparison | None = None  # with the shadow

    def find_part(self, version: int) -> Part:
        """The part of a version that is loaded."""
        model = self.versions[version]
        if model is self.default:
            return "default"
        if model is self.canary:
            return "canary"
        if self.comparison is not None and model is self.comparison.candidate:
            return "shadow"
        return "loaded"
