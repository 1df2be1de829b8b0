"""The service with the tests' own kind beside its kinds: ``bentoml serve tests.tensor_service:ModelService``."""

from service.app import ModelService
from service.kinds import KINDS
from tests.tensor_kind import KIND, TensorKind

__all__ = ["ModelService"]

KINDS[KIND] = TensorKind()  # type: ignore[index]  # which is registered in the server's process alone
