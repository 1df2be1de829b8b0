"""A real server with a small model, one for each module of tests."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.providers import has_gpu
from tests.conftest import Serve
from tests.picture_versions import add_image_generator
from tests.table_versions import add_generator, add_predictor
from tests.versions import add_version


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one version of the colour classifier."""
    root = tmp_path_factory.mktemp("models")
    add_version(root)
    return root


@pytest.fixture(scope="module")
def server(serve: Serve, models: Path) -> Iterator[str]:
    """The address of a server of those models, with limits that tests reach soon."""
    environment = {
        "MODELYARD_MODELS": str(models),
        "MODELYARD_MAX_BODY_BYTES": "1000000",
        "MODELYARD_MAX_PENDING_BYTES": "1500000",
        "MODELYARD_MAX_PIXELS": "1000000",
        "MODELYARD_MAX_ITEMS": "8",
    }
    with serve(environment=environment) as url:
        yield url


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=server, timeout=30) as client:
        yield client


@pytest.fixture
def no_gpu() -> None:
    """Skip the test where there is a GPU."""
    if has_gpu():
        pytest.skip("there is a CUDA device")


@pytest.fixture
def gpu() -> None:
    """Skip the test where there is no GPU."""
    if not has_gpu():
        pytest.skip("there is no CUDA device")


@pytest.fixture(scope="session")
def table_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one version of each kind on tables."""
    root = tmp_path_factory.mktemp("tables")
    add_predictor(root)
    add_generator(root)
    return root


@pytest.fixture(scope="session")
def table_server(serve: Serve, table_models: Path) -> Iterator[str]:
    """The address of a server of those models."""
    with serve(environment={"MODELYARD_MODELS": str(table_models), "MODELYARD_LOG_LEVEL": "WARNING"}) as url:
        yield url


@pytest.fixture(scope="session")
def table_client(table_server: str) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=table_server, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def picture_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one version that makes up images."""
    root = tmp_path_factory.mktemp("pictures")
    add_image_generator(root)
    return root


@pytest.fixture(scope="session")
def picture_server(serve: Serve, picture_models: Path) -> Iterator[str]:
    """The address of a server of that model, which takes requests that are long enough to be watched."""
    environment = {
        "MODELYARD_MODELS": str(picture_models),
        "MODELYARD_LOG_LEVEL": "WARNING",
        "MODELYARD_MAX_IMAGES": "50000",
    }
    with serve(environment=environment) as url:
        yield url


@pytest.fixture(scope="session")
def picture_client(picture_server: str) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=picture_server, timeout=60) as client:
        yield client
