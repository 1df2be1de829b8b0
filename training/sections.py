"""What every model card says in the same way."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.manifest import Manifest


def make_title(manifest: Manifest) -> str:
    """The heading of the card, and what the version does."""
    return f"# {manifest.kind}, version {manifest.version}\n\n{manifest.description}"


def make_details(manifest: Manifest, rows: Sequence[tuple[str, str]]) -> str:
    """A table of what the version is: ``rows``, and below them when and on what it was made."""
    made = f"{manifest.created:%Y-%m-%d}, in {describe_duration(manifest.provenance.training_seconds)}"
    return make_table(("", ""), (*rows, ("Made", made), ("On", manifest.provenance.hardware)))


def describe_data(manifest: Manifest, examples: str, digested: str, training: str, validation: str) -> str:
    """The section on the data.

    Args:
        manifest: whose data it was.
        examples: what it holds, in the plural.
        digested: of which of them the digest is.
        training: what the training split decided.
        validation: likewise.
    """
    data = manifest.provenance.data
    rows = (
        ("training", f"{data.train_examples:,}", training),
        ("validation", f"{data.validation_examples:,}", validation),
        ("test", f"{data.test_examples:,}", "nothing: measured once, at the end"),
    )
    table = make_table(("split", examples, "what it decided"), rows)
    return f"## Data\n\n`{data.name}`, from {data.source}. Digest of the {digested}: `{data.sha256}`.\n\n{table}"


def list_settings(manifest: Manifest) -> str:
    """The settings of the training, one a line."""
    settings = "\n".join(f"{name} = {value}" for name, value in manifest.provenance.settings.items())
    return f"```ini\n{settings}\n```"


def list_figures(metrics: Mapping[str, Any], shown: Mapping[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows of a table of those metrics that there are: ``shown`` has the title and the format of each."""
    return [(title, format(metrics[name], form)) for name, (title, form) in shown.items() if name in metrics]


def make_figure_table(metrics: Mapping[str, Any], shown: Mapping[str, tuple[str, str]]) -> str:
    """What :func:`list_figures` gives, as a table."""
    return make_table(("metric", "value"), list_figures(metrics, shown))


def make_class_table(scores: Mapping[str, Mapping[str, float]], examples: str) -> str:
    """A table of how good a classifier is at each class, on ``examples``."""
    rows = [
        (label, f"{score['precision']:.2%}", f"{score['recall']:.2%}", f"{score['f1']:.2%}", f"{score['support']:,}")
        for label, score in scores.items()
    ]
    return make_table(("class", "precision", "recall", "F1", examples), rows)


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


def enumerate_names(names: Sequence[str], most: int) -> str:
    """``names``, or the first of them and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
