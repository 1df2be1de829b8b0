"""The table of routes: paths, and templates of paths."""

import pytest

from service.exchange import Answer, Exchange
from service.routes import Route, Routes, reading


async def answer(_: Exchange) -> Answer:
    return Answer(200, b"text/plain", b"")


PATHS = (
    "/models",
    "/models/{name}",
    "/models/{name}/ready",
    "/models/{name}/versions/{version}",
    "/models/newest",
)
ROUTES = Routes({path: reading(path, answer) for path in PATHS})


def find(path: str) -> tuple[Route | None, dict[str, str]]:
    scope = {"path": path}
    return ROUTES.find(scope), scope.get("path_params", {})  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/models", "/models", {}),
        ("/models/churn", "/models/{name}", {"name": "churn"}),
        ("/models/ready", "/models/{name}", {"name": "ready"}),
        ("/models/churn/ready", "/models/{name}/ready", {"name": "churn"}),
        ("/models/churn/versions/2", "/models/{name}/versions/{version}", {"name": "churn", "version": "2"}),
    ],
)
def test_a_template_s_places_take_one_segment_each(path: str, template: str, parameters: dict[str, str]) -> None:
    route, found = find(path)
    assert route is not None
    assert (route.name, found) == (template, parameters)


@pytest.mark.parametrize(
    "path",
    ["", "/", "models", "/models/", "/models//ready", "/models/churn/", "/models/churn/versions/2/x", "/" * 50_000],
)
def test_no_other_path_has_a_route(path: str) -> None:
    assert find(path) == (None, {})


def test_a_path_that_stands_in_the_table_comes_before_the_templates() -> None:
    route, found = find("/models/newest")
    assert route is not None
    assert (route.name, found) == ("/models/newest", {})


def test_a_table_without_templates_has_its_paths() -> None:
    routes = Routes({"/livez": reading("/livez", answer)})
    assert routes.find({"path": "/livez"}) is not None
    assert routes.find({"path": "/livez/x"}) is None
