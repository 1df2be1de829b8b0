"""The table of routes: which handlers answer a path."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from service.exchange import Answer, Exchange, Scope

Handler = Callable[[Exchange], Awaitable[Answer]]

READING: Final = ("GET", "HEAD")
NO_SUCH_ROUTE: Final = "no such route: /docs.json describes those that there are"
# What BentoML's application answers: the files of the documentation page, and what its client reads first.
_BEHIND: Final = ("/schema.json",)
_BEHIND_FOLDER: Final = "/static_content/"


class Route(NamedTuple):
    """One row of the table. ``name`` is what logs and metrics call it: the path as it is written in the table."""

    name: str
    handlers: Mapping[str, Handler]  # by method
    admin: bool = False  # for who runs the service, not for who asks it
    guarded: bool = False  # refused where nobody is an administrator


class Routes:
    """Finds the route of a request.

    Args:
        table: the routes by path. A path may be a template, ``/models/{kind}/versions/{version}``: each name in braces
            stands for one segment that is not empty. A path that stands in the table as it is comes first, then the
            templates in their order.
    """

    def __init__(self, table: Mapping[str, Route]) -> None:
        self._paths = {path: route for path, route in table.items() if "{" not in path}
        self._templates = [(path.split("/"), route) for path, route in table.items() if "{" in path]
        self._most_segments = max((len(segments) for segments, _ in self._templates), default=0)

    def find(self, scope: Scope) -> Route | None:
        """The route of a request; what stands in the places of a template is in ``scope["path_params"]`` then."""
        return self._paths.get(scope["path"]) or self._match(scope)

    def _match(self, scope: Scope) -> Route | None:
        found = scope["path"].split("/", self._most_segments)
        for segments, route in self._templates:
            if len(found) == len(segments) and all(map(_fits, segments, found)):
                pairs = zip(segments, found, strict=True)
                scope["path_params"] = {segment[1:-1]: text for segment, text in pairs if segment.startswith("{")}
                return route
        return None


def reading(name: str, handler: Handler) -> Route:
    """A route that can only be read."""
    return Route(name, dict.fromkeys(READING, handler))


def is_behind(path: str) -> bool:
    """Whether a path is one that BentoML's application answers."""
    return path in _BEHIND or path.startswith(_BEHIND_FOLDER)


def _fits(segment: str, text: str) -> bool:
    return bool(text) if segment.startswith("{") else segment == text
