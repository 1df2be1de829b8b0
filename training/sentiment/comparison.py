"""The architectures and poolings beside each other: what runs of this code measured, a small file each."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import DataError
from training.sections import make_table

RESULTS = Path(__file__).parent / "results"
HEADER = ("architecture", "pooling", "accuracy", "validation", "parameters", "training")


class Run(BaseModel):
    """A training on IMDB. Accuracies are shares; the test split chose nothing. A file may say more."""

    model_config = ConfigDict(frozen=True, strict=True)

    architecture: str
    pooling: str
    accuracy: float = Field(ge=0, le=1)
    validation_accuracy: float = Field(ge=0, le=1)
    parameters: int = Field(ge=1)
    training_seconds: float = Field(gt=0)
    command: str
    hardware: str
    seed: int


def load_runs(folder: Path) -> list[Run]:
    """The runs in ``folder``, the most accurate first; none where there is no such folder.

    Raises:
        DataError: a file is no run.
    """
    runs = [_load_run(path) for path in sorted(folder.glob("*.json"))]
    return sorted(runs, key=lambda run: -run.accuracy)


def make_comparison(runs: Sequence[Run]) -> str:
    """The runs as a Markdown table, in their order."""
    return make_table(HEADER, [_describe(run) for run in runs])


def _load_run(path: Path) -> Run:
    try:
        return Run.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "the file"
        raise DataError(f"{path}: {field}: {problem['msg']}, got {str(problem['input'])[:80]}") from error


def _describe(run: Run) -> tuple[str, ...]:
    return (
        f"`{run.architecture}`",
        run.pooling,
        f"{run.accuracy:.2%}",
        f"{run.validation_accuracy:.2%}",
        f"{run.parameters:,}",
        f"{run.training_seconds / 60:.1f} minutes",
    )
