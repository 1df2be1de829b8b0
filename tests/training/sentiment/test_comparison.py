"""The table of architectures and poolings says what its files say, and the README says the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.errors import DataError
from training.sentiment.comparison import RESULTS, load_runs, make_comparison
from training.sentiment.model import ARCHITECTURES, POOLINGS

README = Path(__file__).parents[3] / "README.md"


def write_run(folder: Path, name: str, **changes: Any) -> None:
    run = {
        "architecture": "lstm",
        "pooling": "last",
        "accuracy": 0.8725,
        "validation_accuracy": 0.8801,
        "parameters": 2_345_678,
        "training_seconds": 90.0,
        "command": "python -m training sentiment --architecture lstm",
        "hardware": "two cores",
        "seed": 0,
        "epochs": 3,
    }
    (folder / f"{name}.json").write_text(json.dumps(run | changes))


def test_the_table_has_a_row_for_each_run_the_best_first(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    write_run(tmp_path, "b", architecture="bilstm", pooling="concat", accuracy=0.9, training_seconds=600)
    assert make_comparison(load_runs(tmp_path)).splitlines()[2:] == [
        "| `bilstm` | concat | 90.00% | 88.01% | 2,345,678 | 10.0 minutes |",
        "| `lstm` | last | 87.25% | 88.01% | 2,345,678 | 1.5 minutes |",
    ]


def test_no_folder_has_no_runs(tmp_path: Path) -> None:
    assert load_runs(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("changes", "message"), [({"accuracy": 87.2}, "accuracy: .*got 87.2"), ({"seed": "zero"}, "seed: .*got zero")]
)
def test_a_file_that_is_no_run_is_named_with_its_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_run(tmp_path, "wrong", **changes)
    with pytest.raises(DataError, match=f"wrong.json: {message}"):
        load_runs(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"architecture": "ls')
    with pytest.raises(DataError, match=r"half\.json: the file: Invalid JSON"):
        load_runs(tmp_path)


def test_the_measured_runs_are_of_this_code_each_of_its_own() -> None:
    runs = load_runs(RESULTS)
    assert len({(run.architecture, run.pooling) for run in runs}) == len(runs)
    for run in runs:
        assert run.architecture in ARCHITECTURES
        assert run.pooling in POOLINGS
        assert run.command.startswith("python -m training sentiment")


def test_what_the_readme_shows_of_the_table_is_the_table() -> None:
    rows = make_comparison(load_runs(RESULTS)).splitlines()
    starts = tuple(f"| `{architecture}` | {pooling} |" for architecture in ARCHITECTURES for pooling in POOLINGS)
    shown = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith(starts)]
    assert [line for line in shown if line not in rows] == []
