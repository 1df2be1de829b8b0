"""The results as Markdown."""

from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.contenders import FLOOR, THIS_SERVICE, Contender
from benchmarks.measurement import Sample


def _median(samples: Sequence[Sample], name: str, connections: int, value: Callable[[Sample], float]) -> float:
    return median(value(sample) for sample in _select(samples, name, connections))


def _select(samples: Sequence[Sample], name: str, connections: int) -> list[Sample]:
    """The samples of one server at one load, in order of the rounds."""
    found = [sample for sample in samples if sample.contender == name and sample.connections == connections]
    return sorted(found, key=lambda sample: sample.round)


def _ratio(samples: Sequence[Sample], name: str, connections: int) -> float:
    """How many times as fast this service is, as the median of the rounds' own ratios: noise that lasts cancels."""
    rounds = zip(_select(samples, THIS_SERVICE, connections), _select(samples, name, connections), strict=True)
    return median(ours.requests_per_second / theirs.requests_per_second for ours, theirs in rounds)


def format_table(
    contenders: Sequence[Contender], samples: Sequence[Sample], costs: dict[str, float], connections: Sequence[int]
) -> str:
    """The results as Markdown: a row for each server, and below it the limit that no server on this core can pass.

    Args:
        contenders: the servers, in the order of their rows.
        samples: theirs, of one workload.
        costs: the microseconds of each step in process, from :mod:`benchmarks.limit`.
        connections: the loads, in the order of the samples.
    """
    names = {contender.name for contender in contenders}
    main = 16 if 16 in connections else connections[0]
    counts = " / ".join(str(count) for count in connections)
    lines = [
        f"| server | requests/s at {counts} connections | p50 ms | p99 ms | CPU µs per request at {main} "
        f"| MB resident | errors | this service is … times as fast |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_format_row(samples, contender, connections, main, THIS_SERVICE in names) for contender in contenders]
    if {FLOOR, THIS_SERVICE} <= names:
        lines += ["", *_format_limit(samples, costs, main)]
    return "\n".join(lines)


def _format_row(
    samples: Sequence[Sample], contender: Contender, connections: Sequence[int], main: int, is_compared: bool
) -> str:
    def column(value: Callable[[Sample], float], form: str) -> str:
        return " / ".join(form.format(_median(samples, contender.name, count, value)) for count in connections)

    has_ratio = is_compared and contender.name != THIS_SERVICE
    ratios = [_ratio(samples, contender.name, count) for count in connections] if has_ratio else []
    errors = sum(sample.load.errors for sample in samples if sample.contender == contender.name)
    cells = [
        contender.title,
        column(lambda sample: sample.requests_per_second, "{:,.0f}"),
        column(lambda sample: sample.load.p50_ms, "{:.1f}"),
        column(lambda sample: sample.load.p99_ms, "{:.1f}"),
        f"{_median(samples, contender.name, main, lambda sample: sample.cpu_us_per_request):,.0f}",
        f"{_median(samples, contender.name, main, lambda sample: sample.resident_mb):,.0f}",
        str(errors),
        " / ".join(f"{ratio:.2f}" for ratio in ratios),
    ]
    return f"| {' | '.join(cells)} |"


def _format_limit(samples: Sequence[Sample], costs: dict[str, float], main: int) -> list[str]:
    """The CPU that a request needs at least: the floor's, and decoding, inference and encoding without HTTP."""
    floor_us = _median(samples, FLOOR, main, lambda sample: sample.cpu_us_per_request)
    ours_us = _median(samples, THIS_SERVICE, main, lambda sample: sample.cpu_us_per_request)
    ours_per_second = _median(samples, THIS_SERVICE, main, lambda sample: sample.requests_per_second)
    lines = [
        f"| the limit at {main} connections | HTTP µs | decode µs | infer µs | encode µs | sum µs | requests/s "
        "| limit ÷ this service | CPU of this service ÷ limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for batch in (int(step.removeprefix("infer_")) for step in costs if step.startswith("infer_")):
        infer_us = costs[f"infer_{batch}"]
        parts_us = (floor_us, costs["decode"], infer_us, costs["encode"])
        limit_us = sum(parts_us)
        limit_per_second = 1e6 / limit_us
        lines.append(
            f"| in batches of {batch} | {' | '.join(f'{part_us:.1f}' for part_us in parts_us)} | {limit_us:.1f} "
            f"| {limit_per_second:,.0f} | {limit_per_second / ours_per_second:.2f} | {ours_us / limit_us:.2f} |"
        )
    return lines
