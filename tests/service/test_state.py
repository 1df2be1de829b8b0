"""What administrators set is in one file, which is whole whoever reads and writes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.config import Canary, Settings
from service.state import Plan, Record, State, StateError, StateFile, list_initial_plans
from tests.conftest import ROOT

PLAN = Plan(default=2, canary=Canary(version=3, share=0.5), shadow=4, loaded=(1, 2), asked=7)


def test_what_one_process_writes_others_read(tmp_path: Path) -> None:
    writer, reader = StateFile(tmp_path / "state"), StateFile(tmp_path / "state")
    assert reader.read() == State()
    writer.change(lambda state: state.with_plan("churn", PLAN))
    assert reader.read().plans == {"churn": PLAN}
    writer.change(lambda state: state.with_record("churn", Record(default=2, previous=None)))
    assert reader.read().records["churn"].default == 2
    assert reader.read().plans == {"churn": PLAN}


def test_a_plan_names_its_versions_once_each() -> None:
    assert PLAN.list_versions() == [2, 3, 4, 1]
    assert Plan(default=2, unloaded=True).list_versions() == []


def test_processes_that_write_at_a_time_lose_nothing(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from service.state import Plan, StateFile

file = StateFile(Path({str(tmp_path)!r}))
for _ in range(25):
    file.change(lambda state: state.with_plan("churn", Plan(asked=state.plans.get("churn", Plan()).asked + 1)))
"""
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(3)]
    file = StateFile(tmp_path)
    while any(process.poll() is None for process in processes):
        file.read()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert file.read().plans["churn"].asked == 75


@pytest.mark.parametrize("content", ["", "{", '{"plans": {"churn": {"default": 0}}}', '{"plan": {}}'])
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "versions.json").write_text(content)
    with pytest.raises(StateError, match=r"versions\.json: "):
        StateFile(tmp_path).read()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match=r"state/versions\.lock: cannot be written"):
        StateFile(tmp_path / "state").change(lambda state: state.with_plan("churn", PLAN))


def test_without_a_folder_the_state_is_in_memory() -> None:
    file = StateFile(None)
    file.change(lambda state: state.with_plan("churn", PLAN))
    assert file.read().plans == {"churn": PLAN}
    assert not file.is_kept


def test_the_settings_make_the_first_plans() -> None:
    settings = Settings.model_validate(
        {"pin": {"churn": 1}, "canary": {"churn": {"version": 2, "share": 0.1}}, "shadow": {"sentiment": 3}}
    )
    assert list_initial_plans(settings) == {
        "churn": Plan(default=1, canary=Canary(version=2, share=0.1)),
        "sentiment": Plan(shadow=3),
    }
