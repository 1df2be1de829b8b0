import pytest

from benchmarks.contenders import FLOOR, THIS_SERVICE, Contender
from benchmarks.load import Load
from benchmarks.measurement import Sample
from benchmarks.table import format_table
from benchmarks.workloads import KINDS
from benchmarks.workloads.image_classifier import CONTENDERS

COSTS = {"decode": 10.0, "infer_1": 60.0, "infer_8": 50.0, "infer_32": 40.0, "encode": 5.0}


def select(*names: str) -> list[Contender]:
    return [contender for contender in CONTENDERS if contender.name in names]


def sample(name: str, round_: int, requests: int, cpu_us: float = 100.0) -> Sample:
    return Sample("1 image", name, round_, 16, Load(requests, 1.0, 2.0, 4.0, 0), cpu_us, 200.0)


def test_a_ratio_compares_within_rounds_so_that_a_slow_round_is_slow_for_both() -> None:
    ours = [sample(THIS_SERVICE, 0, 1000), sample(THIS_SERVICE, 1, 500), sample(THIS_SERVICE, 2, 900)]
    theirs = [sample("fastapi", 2, 300), sample("fastapi", 0, 250), sample("fastapi", 1, 125)]
    row = next(
        line
        for line in format_table(select(THIS_SERVICE, "fastapi"), ours + theirs, COSTS, [16]).splitlines()
        if "FastAPI" in line
    )
    assert row.split("|")[-2].strip() == "4.00"


def test_the_limit_is_the_sum_of_its_parts() -> None:
    rows = [sample(THIS_SERVICE, 0, 8000, cpu_us=125.0), sample(FLOOR, 0, 40000, cpu_us=25.0)]
    limit = next(
        line
        for line in format_table(select(THIS_SERVICE, FLOOR), rows, COSTS, [16]).splitlines()
        if "in batches of 1 " in line
    )
    assert [cell.strip() for cell in limit.split("|")[2:-1]] == [
        *("25.0", "10.0", "60.0", "5.0", "100.0", "10,000", "1.25", "1.25")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_contender_of_a_kind_has_a_name_and_a_title_of_its_own(kind: str) -> None:
    contenders = KINDS[kind].CONTENDERS
    assert {THIS_SERVICE, FLOOR} < {contender.name for contender in contenders}
    assert len({contender.name for contender in contenders}) == len(contenders)
    assert len({contender.title for contender in contenders}) == len(contenders)
