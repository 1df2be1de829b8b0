"""The kinds of models that the service can serve. One line registers a kind."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from pydantic import BaseModel

from models.manifest import Manifest
from service.bodies import Body
from service.config import Settings
from service.kinds import image_classifier
from service.queries import Query
from service.session import Row


class Kind(Protocol):
    """What a file in this folder has. Everything in it is pure: no files, no sessions, no state.

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

    def check(self, manifest: Manifest) -> None:
        """Raise ManifestError where a manifest cannot be one of this kind."""

    def parse(self, body: Body, settings: Settings) -> Any:
        """What a body of one of MEDIA_TYPES asks for: the content of a Request, however it came."""

    def is_quick(self, content: Any) -> bool:
        """Whether preprocessing is over in a millisecond or so, and may be done on the event loop."""

    def preprocess(self, content: Any, query: Any, manifest: Manifest, settings: Settings) -> Iterator[Row]:
        """The rows that the graph reads, one for each prediction."""

    def postprocess(self, row: Row, query: Any, manifest: Manifest) -> dict[str, object]:
        """One of the Response's predictions, from the graph's outputs for a row."""


KINDS: Final[Mapping[str, Kind]] = {
    "image_classifier": image_classifier,
}
