"""The table of shipped models is what their manifests say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import RepositoryError
from models.image import ImagePreprocessing
from models.manifest import (
    CARD_FILE,
    GRAPH_FILE,
    DataSource,
    Golden,
    GoldenExample,
    GoldenRequest,
    Manifest,
    Provenance,
    TensorSpec,
    save_golden,
)
from models.repository import Repository
from models.table import BEGIN, END, README, ROOT, make_table, replace_table


def write_version(folder: Path, version: int) -> Manifest:
    """Plain files that pass the checks of a repository."""
    (folder / GRAPH_FILE).write_bytes(bytes(7_912_345))
    (folder / CARD_FILE).write_text("# A card\n")
    request = GoldenRequest(content_type="image/png", body="")
    save_golden(folder, Golden(tolerance=1e-3, examples=(GoldenExample(request=request, predictions=({},)),)))
    data = DataSource(
        name="cifar10",
        source="somewhere",
        sha256="0" * 64,
        train_examples=49_000,
        validation_examples=0,
        test_examples=1,
    )
    return Manifest(
        kind="image_classifier",
        version=version,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        task="image-classification",
        description="Classifies a picture.",
        architecture="resnet",
        parameters=1_972_792,
        inputs=(TensorSpec(name="images", dtype="uint8", shape=("batch", 32, 32, 3)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=("batch", 10)),),
        preprocessing=ImagePreprocessing(height=32, width=32, channels=3),
        metrics={"accuracy": 0.95125, "temperature": 1.2},
        provenance=Provenance(
            command="python -m training image_classifier",
            seed=0,
            data=data,
            settings={},
            libraries={},
            hardware="two cores",
            training_seconds=5_400.0,
        ),
    )


def test_the_readme_has_the_table_of_the_models_beside_it() -> None:
    text = README.read_text(encoding="utf-8")
    assert replace_table(text, make_table(Repository(ROOT))) == text, "run: python -m models.table"


def test_a_row_is_what_the_manifest_says(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    for _ in range(2):
        repository.add("image_classifier", write_version)
    header, _, newest, oldest = make_table(repository).splitlines()
    assert header.startswith("| kind | version | architecture | parameters |")
    assert newest == (
        "| `image_classifier` | [2](image_classifier/2/card.md) | `resnet` | 1,972,792 | 7.9 MB "
        "| `cifar10`, 49,000 examples | accuracy 0.9513 | 90 minutes on two cores |"
    )
    assert oldest.startswith("| `image_classifier` | [1](image_classifier/1/card.md) |")


def test_an_empty_folder_has_no_table(tmp_path: Path) -> None:
    assert make_table(Repository(tmp_path)) == "No model is shipped yet."


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    assert replace_table(f"before\n{BEGIN}\nold\n{END}\nafter", "new") == f"before\n{BEGIN}\nnew\n{END}\nafter"


@pytest.mark.parametrize("text", ["no marks", BEGIN, f"{END} {BEGIN}"])
def test_a_text_without_marks_is_refused(text: str) -> None:
    with pytest.raises(RepositoryError, match=r"README\.md: no table to replace"):
        replace_table(text, "new")
