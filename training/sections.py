"""What every model card says in the same way."""

from collections.abc import Sequence

from models.manifest import Manifest


def describe_making(manifest: Manifest) -> str:
    """The section on how to make the version again."""
    versions = "\n".join(f"{name}=={version}" for name, version in manifest.provenance.libraries.items())
    return (
        "## How to make it again\n\n"
        f"```sh\n{manifest.provenance.command}\n```\n\n"
        f"The seed is {manifest.provenance.seed}. The same machine and libraries give the same weights on the CPU; "
        f"others give slightly different results.\n\n```text\n{versions}\n```"
    )


def make_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; what stands in it cannot end a cell."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def describe_duration(seconds: float) -> str:
    """How long a training took, in words."""
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} seconds of training"
    return f"{minutes:.0f} minutes of training" if minutes < 120 else f"{minutes / 60:.1f} hours of training"


def count(number: int, noun: str) -> str:
    """A number of things, of which one has no plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
