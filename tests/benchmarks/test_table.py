from benchmarks.contenders import CONTENDERS, FLOOR, THIS_SERVICE
from benchmarks.load import Load
from benchmarks.measurement import Sample
from benchmarks.table import format_table

COSTS = {"decode": 10.0, "infer_1": 60.0, "infer_8": 50.0, "infer_32": 40.0, "encode": 5.0}


def sample(name: str, round_: int, requests: int, cpu_us: float = 100.0) -> Sample:
    return Sample(name, round_, 16, Load(requests, 1.0, 2.0, 4.0, 0), cpu_us, 200.0)


def test_a_ratio_compares_within_rounds_so_that_a_slow_round_is_slow_for_both() -> None:
    ours = [sample(THIS_SERVICE, 0, 1000), sample(THIS_SERVICE, 1, 500), sample(THIS_SERVICE, 2, 900)]
    theirs = [sample("fastapi", 2, 300), sample("fastapi", 0, 250), sample("fastapi", 1, 125)]
    row = next(line for line in format_table(ours + theirs, COSTS, [16]).splitlines() if "FastAPI" in line)
    assert row.split("|")[-2].strip() == "4.00"


def test_the_limit_is_the_sum_of_its_parts() -> None:
    rows = [sample(THIS_SERVICE, 0, 8000, cpu_us=125.0), sample(FLOOR, 0, 40000, cpu_us=25.0)]
    limit = next(line for line in format_table(rows, COSTS, [16]).splitlines() if "in batches of 1 " in line)
    assert [cell.strip() for cell in limit.split("|")[2:-1]] == [
        *("25.0", "10.0", "60.0", "5.0", "100.0", "10,000", "1.25", "1.25")
    ]


def test_every_contender_has_a_name_and_a_title_of_its_own() -> None:
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    assert len({contender.title for contender in CONTENDERS}) == len(CONTENDERS)
