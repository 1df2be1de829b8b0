from pathlib import Path

import pytest

from tests.training.image_classifier.pictures import write_folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of eight by eight pixels, of three classes."""
    return write_folder(tmp_path_factory.mktemp("data") / "colours", per_class=40, size=(8, 8))
