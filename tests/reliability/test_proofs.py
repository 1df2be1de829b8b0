"""The long forms of the proofs are run one after the other, and one table says how they went."""

from benchmarks.reliability.__main__ import Proof, list_proofs, read_tables, run_proof
from tests.conftest import ROOT
from tests.reliability.server import format_table


def test_every_proof_is_bounded_in_time_and_there() -> None:
    proofs = list_proofs(requests=1000, minutes=2)
    assert sum(proof.minutes for proof in proofs.values()) <= 80
    for proof in proofs.values():
        module, *arguments = proof.arguments
        path = arguments[-1] if module == "pytest" else module.replace(".", "/") + ".py"
        assert (ROOT / path).is_file()


def test_the_rows_of_all_tables_are_found() -> None:
    first = format_table(("times capacity", "good/s", "503"), [(1, 90, 0), (5, 95, 400)])
    second = "| churn, seed 0 | |\n|---|---|\n| reloads | 100 |"
    assert read_tables(f"..{first}\n.\n{second}\n1 passed") == [
        ("times capacity: 1", "good/s: 90; 503: 0"),
        ("times capacity: 5", "good/s: 95; 503: 400"),
        ("churn, seed 0: reloads", "100"),
    ]


def test_a_proof_that_is_no_test_runs() -> None:
    proof = list_proofs(requests=500, minutes=1)["endurance"]
    output, problem = run_proof(proof)
    assert problem == "", output
    assert read_tables(output)


def test_a_proof_that_fails_or_takes_too_long_says_so() -> None:
    assert run_proof(Proof(("platform",), 1))[1] == ""
    output, problem = run_proof(Proof(("benchmarks.reliability.endurance", "--requests", "many"), 1))
    assert problem == "status 2"
    assert "invalid int value: 'many'" in output
    assert run_proof(Proof(("timeit", "-n", "1000000000", "pass"), 0.01))[1] == "not done after 0.01 minutes"
