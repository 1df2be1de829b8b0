"""The kinds of models that the service can serve. One line registers a kind."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from pydantic import BaseModel

from models.manifest import Manifest
from service.bodies import Body
from service.config import Settings
from service.encoders import Encoder
from service.items import Item
from service.kinds import churn, image_classifier, image_generator, profile_generator, sentiment
from service.queries import Query
from service.session import Evaluate, Row


class Kind(Protocol):
    """What a file in this folder has. Everything in it is pure but ``load``: no files, no sessions, no state.

    ``MEDIA_TYPES`` are the types of body that ``ROUTE`` takes, each with the JSON schema of such a body.
    """

    @property
    def ROUTE(self) -> str: ...  # noqa: D102, N802

    @property
    def MEDIA_TYPES(self) -> Mapping[str, Mapping[str, Any]]: ...  # noqa: D102, N802

    @property
    def Query(self) -> type[Query]: ...  # noqa: D102, N802

    @property
    def Request(self) -> type[BaseModel]: ...  # noqa: D102, N802

    @property
    def Response(self) -> type[BaseModel]: ...  # noqa: D102, N802

    def load(self, folder: Path, manifest: Manifest) -> Any:
        """What requests for a version are read and answered with: its manifest, and what else is in its folder.

        Raises:
            ModelError: the version cannot be one of this kind.
        """

    def parse(self, body: Body, settings: Settings) -> Any:
        """What a body of one of MEDIA_TYPES asks for: the content of a Request, however it came."""

    def is_quick(self, content: Any) -> bool:
        """Whether preprocessing is over in a millisecond or so, and may be done on the event loop."""

    def preprocess(self, content: Any, query: Any, assets: Any, settings: Settings) -> Iterator[Item]:
        """What the graph reads, an item for each prediction. ``assets`` is what ``load`` gave."""

    def postprocess(self, row: Row, facts: Any, query: Any, assets: Any) -> dict[str, Any]:
        """One of the Response's predictions, from the graph's outputs for an item and from the item's facts."""


@runtime_checkable
class ModelKind(Kind, Protocol):
    """A kind whose requests or answers look another way for each model: with the columns of a table, say."""

    def describe(self, manifest: Manifest) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """The JSON schemas of those fields of Request and Response that the model decides: by document and field."""


@runtime_checkable
class ExplainingKind(Kind, Protocol):
    """A kind that can say why a prediction is what it is, by asking the graph about items that are like it."""

    def wants_explanation(self, content: Any) -> bool:
        """Whether a request asks for it."""

    def explain(self, item: Item, assets: Any, evaluate: Evaluate) -> dict[str, Any]:
        """The members that explain the prediction for ``item``.

        Args:
            item: from ``preprocess``.
            assets: from ``load``.
            evaluate: runs the graph on its inputs, (rows, ...) each; it raises where nobody waits any more.
        """


@runtime_checkable
class DecidingKind(Kind, Protocol):
    """A kind whose predictions decide something about what was sent.

    ``OUTCOME`` are the members of a prediction that say what: none that repeats or shows what was sent.
    """

    @property
    def OUTCOME(self) -> tuple[str, ...]: ...  # noqa: D102, N802


@runtime_checkable
class GeneratingKind(Kind, Protocol):
    """A kind whose answers are made while they are sent: there may be more of them than fit in memory.

    ``ENCODERS`` makes what writes an answer, for each media type that the client may ask for. The first is the usual
    one. An encoder is made for the content of a request and for what ``load`` gave.
    """

    @property
    def ENCODERS(self) -> Mapping[str, Callable[[Any, Any], Encoder]]: ...  # noqa: D102, N802

    def is_repeatable(self, body: Body) -> bool:
        """Whether the same body always gets the same answer: whether nothing is drawn but by its seed.

        Raises:
            RequestError: the body is not what ``parse`` reads.
        """


KINDS: Final[Mapping[str, Kind]] = {
    "churn": churn,
    "image_classifier": image_classifier,
    "image_generator": image_generator,
    "profile_generator": profile_generator,
    "sentiment": sentiment,
}
