"""What a proof prints."""

from collections.abc import Sequence


def format_results(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Results by their names, as Markdown."""
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
