"""All proofs of reliability in their long form, one after the other, and one table of their results.

    python -m benchmarks.reliability                               half an hour on two cores
    python -m benchmarks.reliability overload drain                these alone
    python -m benchmarks.reliability endurance --requests 1000000  a million requests

Each is bounded in time, and its load is seeded. The proofs of ``tests/reliability`` are run by pytest, whose short
forms are part of the tests. Nothing else should run on the machine meanwhile. Ends with status 1 where one failed.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.reliability.endurance import Options
from benchmarks.reliability.service import ROOT

_STOP_SECONDS = 60.0


class Proof(NamedTuple):
    """How a proof is run, and how long it may take."""

    arguments: Sequence[str]  # of python -m
    minutes: float
    environment: Mapping[str, str] = MappingProxyType({})


def list_proofs(requests: int, minutes: float) -> Mapping[str, Proof]:
    """All of them, by name.

    Args:
        requests: of the proof of endurance.
        minutes: that it may ask.
    """

    def test(name: str, minutes: float) -> Proof:
        arguments = ("pytest", "--quiet", f"tests/reliability/test_{name}.py")
        return Proof(arguments, minutes, {"MODELYARD_RELIABILITY": "long"})

    asking = ("benchmarks.reliability.endurance", "--requests", str(requests), "--minutes", str(minutes))
    return {
        "reload": Proof(("benchmarks.reliability.reload",), 15),
        "drain": test("drain", 20),
        "respawn": test("respawn", 10),
        "overload": test("overload", 5),
        "malformed": test("malformed", 10),
        "isolation": test("isolation", 10),
        "endurance": Proof(asking, minutes + 3),
    }


def run_proof(proof: Proof) -> tuple[str, str]:
    """What it printed, and what is wrong: nothing, if it went well."""
    environment = {**os.environ, **proof.environment}
    command = [sys.executable, "-m", *proof.arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=60 * proof.minutes)
    except subprocess.TimeoutExpired:
        # As by Ctrl-C, so that it stops its servers.
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        return output, f"not done after {proof.minutes:g} minutes"
    return output, f"status {process.returncode}" if process.returncode else ""


def read_tables(output: str) -> list[tuple[str, str]]:
    """The rows of the Markdown tables in what a proof printed, each as its case and its result."""
    rows: list[tuple[str, str]] = []
    columns: Sequence[str] | None = None
    for line in output.splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if columns is None:
            columns = cells
        elif not set("".join(cells)) <= {"-", ":"}:
            results = [f"{name}: {cell}" if name else cell for name, cell in zip(columns[1:], cells[1:], strict=True)]
            rows.append((f"{columns[0]}: {cells[0]}", "; ".join(results)))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the proofs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = tuple(list_proofs(Options.requests, Options.minutes))
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help=f"which: {', '.join(names)} (all)")
    parser.add_argument("--requests", type=int, default=Options.requests, help="of endurance (100,000)")
    parser.add_argument("--minutes", type=float, default=Options.minutes, help="of endurance at most (10)")
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.proofs) - set(names)
    if unknown:
        parser.error(f"no such proof: {', '.join(sorted(unknown))}, expected some of {', '.join(names)}")
    proofs = list_proofs(parsed.requests, parsed.minutes)
    rows, failed = [], []
    for name in parsed.proofs or names:
        print(f"{name}: at most {proofs[name].minutes:g} minutes", file=sys.stderr, flush=True)
        output, problem = run_proof(proofs[name])
        rows += [(name, *row) for row in read_tables(output)]
        if problem:
            rows.append((name, "failed", problem))
            failed.append(name)
            print(output, file=sys.stderr)
    print("\n".join(f"| {' | '.join(row)} |" for row in [("proof", "case", "result"), ("---",) * 3, *rows]))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
