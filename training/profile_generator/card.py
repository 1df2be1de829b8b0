"""The model card: what a version is, what it is for, how good it is, and how to make it again.

Its sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes
from the manifest or from the rows that it was computed from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.columns import TablePreprocessing
from models.manifest import CARD_FILE, Manifest, find_preprocessing
from training.noise import draw_noise, interpolate
from training.profile_generator.data import ProfileData
from training.profile_generator.evaluate import Measurements, measure_associations
from training.profile_generator.pictures import (
    draw_associations,
    draw_distances,
    draw_learning_curves,
    draw_marginals,
)
from training.profile_generator.sampling import Sampler, write_profiles
from training.sections import (
    describe_data,
    describe_making,
    enumerate_names,
    list_settings,
    make_details,
    make_figure_table,
    make_table,
    make_title,
)

FROM_SEED, TO_SEED, STEPS = 1, 2, 7
CHANGING_COLUMNS = 8
NAMES_SHOWN = 12

INTENDED_USE = (
    "## Intended use\n\n"
    "Rows to develop, demonstrate and test with, where real ones must not go: they have the same columns, about "
    "the same distributions, and keep the rules below.\n\n"
    "It is not made to find out anything about the real rows that is not in this card, to stand in for them where "
    "a decision about people is made, or to be published as anonymous without a look at what is not guaranteed."
)

# In the order of the tables. A metric that the manifest does not have is left out.
FIDELITY: Mapping[str, tuple[str, str]] = {
    "quality": ("Quality report of sdmetrics", ".2%"),
    "quality_shapes": ("of it, columns one by one", ".2%"),
    "quality_pairs": ("of it, columns in pairs", ".2%"),
    "quality_all_pairs": ("Quality report with all pairs, also of columns that hardly go together", ".2%"),
    "quality_of_training_rows": ("For comparison: the quality report of the real training rows", ".2%"),
    "train_on_synthetic_auc": ("AUC on held-out rows, trained on generated rows", ".4f"),
    "train_on_real_auc": ("For comparison: the same, trained on real rows", ".4f"),
    "auc_gap": ("Difference of the two", ".4f"),
    "detection_auc": ("AUC of a logistic discriminator of generated from held-out rows (0.5: cannot tell)", ".4f"),
    "detection_auc_of_training_rows": ("For comparison: the same of real training rows", ".4f"),
    "detection_auc_boosted": ("AUC of a discriminator of boosted trees", ".4f"),
}
PRIVACY: Mapping[str, tuple[str, str]] = {
    "exact_copies_share": ("Generated rows that are an exact copy of a training row", ".3%"),
    "held_out_copies_share": ("For comparison: held-out rows that are", ".3%"),
    "closer_to_training_share": ("Generated rows closer to training than to held-out rows (50%: no closer)", ".2%"),
    "median_distance_to_training": ("Distance to the nearest training row, median", ".4f"),
    "median_distance_of_held_out_to_training": ("For comparison: of held-out rows", ".4f"),
    "fifth_percentile_distance_to_training": ("Distance to the nearest training row, 5th percentile", ".4f"),
    "fifth_percentile_distance_of_held_out_to_training": ("For comparison: of held-out rows", ".4f"),
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from."""

    manifest: Manifest
    history: Sequence[Mapping[str, float]]  # epoch, train_loss, validation_loss, validation_divergence
    data: ProfileData
    measurements: Measurements
    sampler: Sampler


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write ``card.md`` and its pictures into ``folder``."""
    test, measured = facts.data.test, facts.measurements
    draw_learning_curves(folder / "learning_curves.png", facts.history)
    draw_marginals(folder / "marginals.png", test, measured.synthetic)
    draw_associations(folder / "associations.png", measure_associations(test, measured.synthetic))
    draw_distances(folder / "distances.png", measured.training_distances, measured.held_out_distances)
    sections = (
        _details(facts.manifest),
        INTENDED_USE,
        _data(facts.manifest),
        _training(facts.manifest, facts.history),
        _fidelity(facts.manifest),
        _rules(facts.manifest, measured.rules),
        _privacy(facts.manifest),
        _latent_space(facts),
        _limits(facts.manifest),
        describe_making(facts.manifest),
    )
    (folder / CARD_FILE).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _details(manifest: Manifest) -> str:
    facts = find_preprocessing(manifest, TablePreprocessing)
    noise = manifest.inputs[0].shape[1]
    names = enumerate_names([column.name for column in facts.columns], NAMES_SHOWN)
    rows = (
        ("Architecture", f"`{manifest.architecture}`, {manifest.parameters:,} parameters of the decoder"),
        ("Input", f"{noise} standard normal numbers, and which `{facts.target.name}` a profile is to have"),
        ("Output", f"{len(facts.columns)} columns: {names}"),
    )
    return f"{make_title(manifest)}\n\n## Model details\n\n{make_details(manifest, rows)}"


def _data(manifest: Manifest) -> str:
    section = describe_data(
        manifest,
        examples="rows",
        digested="rows",
        training="the weights, the bins, the rules",
        validation="watched during training",
    )
    return (
        f"{section}\n\nA third of the rows is held out, so that whether generated rows stand closer to training rows "
        "can be seen against as many as half of these."
    )


def _training(manifest: Manifest, history: Sequence[Mapping[str, float]]) -> str:
    last = history[-1]
    return (
        f"## Training\n\n{len(history):,} epochs. At the end a validation row costs {last['validation_loss']:.2f} "
        f"nats, of which {last['validation_divergence']:.2f} are what the latents carry; the rest of a row "
        "is decided by the noise of its columns, each given those before it.\n\n"
        f"![Loss over epochs](learning_curves.png)\n\n{list_settings(manifest)}"
    )


def _fidelity(manifest: Manifest) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    test = manifest.provenance.data.test_examples
    rows = [
        (name, f"{areas['real']:.4f}", f"{areas['synthetic']:.4f}")
        for name, areas in metrics["auc_by_classifier"].items()
    ]
    return (
        f"## How alike\n\nAgainst the {test:,} held-out rows; generated by the exported graph, means over several "
        f"seeds. What real training rows reach is what chance leaves.\n\n{make_figure_table(metrics, FIDELITY)}\n\n"
        f"{make_table(('classifier', 'AUC, trained on real rows', 'AUC, trained on generated rows'), rows)}\n\n"
        "![The distribution of each column](marginals.png)\n\n![How columns go together](associations.png)\n\n"
        "Of two numbers the strength is the size of their rank correlation, of two categories Cramér's V, of a number "
        "and a category the correlation ratio."
    )


def _rules(manifest: Manifest, rules: Sequence[str]) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    listed = "\n".join(f"- {rule}" for rule in rules) or "None was found."
    followed = [
        (name, relation["follows_from"], f"{relation['real']:.4%}", f"{relation['synthetic']:.4%}")
        for name, relation in metrics["relations"].items()
    ]
    header = ("column", "follows from", "variance explained, held-out rows", "generated rows")
    return (
        f"## Rules\n\nThese hold in the training rows without exception and not by chance, and generation keeps them: "
        f"{metrics['rows_that_break_a_rule']:,} of {metrics['rows_checked_for_rules']:,} generated rows break one, and "
        f"{metrics['held_out_rows_that_break_a_rule']:,} of the held-out rows.\n\n{listed}"
        + (f"\n\nNumbers that follow from others:\n\n{make_table(header, followed)}" if followed else "")
    )


def _privacy(manifest: Manifest) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    copies = (
        " Generated rows that may be an exact copy are moved by a step or a few of one number. For this the graph "
        "holds checksums of the training rows, in about twice as many buckets as there are rows: an exact copy always "
        "falls into a taken bucket, and so do two in five of all other rows. Who has the file can tell of a whole row "
        "whose bucket is free that it was not among the training rows; `--no-avoid-copies` leaves the checksums out."
        if manifest.provenance.settings["avoid_copies"]
        else ""
    )
    return (
        f"## Privacy\n\nDistances are Gower's, the mean difference over columns; training and held-out rows are "
        f"equally many.{copies}\n\n{make_figure_table(metrics, PRIVACY)}\n\n"
        "![Distance to the nearest training row](distances.png)\n\n"
        "**What is not guaranteed.** There is no differential privacy: nothing bounds what the generated rows, or the "
        "file of the model, tell about one person in the training rows. The figures say how much closer, on the "
        "whole, generated rows stand to training rows than to other real rows; they cannot exclude that somebody who "
        "knows much of a person, above all of a rare one, learns whether that person was there. A generated row can "
        "be that of a real person by chance, in all that matters. Quantiles of the training numbers, their least and "
        "greatest included, stand in the model as they are."
    )


def _latent_space(facts: CardFacts) -> str:
    start, end = (draw_noise(seed, 1, facts.sampler.noise)[0] for seed in (FROM_SEED, TO_SEED))
    targets = np.zeros(STEPS, np.int64)
    numbers, texts = facts.sampler.run(interpolate(start, end, STEPS), targets)
    columns = find_preprocessing(facts.manifest, TablePreprocessing)
    profiles: list[Any] = write_profiles(columns, numbers, texts, targets)
    names = [column.name for column in columns.columns]
    changes = {name: sum(a[name] != b[name] for a, b in pairwise(profiles)) for name in names}
    shown = sorted(names, key=lambda name: -changes[name])[:CHANGING_COLUMNS]
    shown.sort(key=names.index)
    rows = [
        (f"{place / (STEPS - 1):.0%}", *("" if profile[name] is None else str(profile[name]) for name in shown))
        for place, profile in enumerate(profiles)
    ]
    target, table = columns.target, make_table(("", *shown), rows)
    return (
        f"## From one seed to another\n\nThe noise of seed {FROM_SEED} turned step by step into that of seed "
        f"{TO_SEED}, `{target.name}` = `{target.categories[0]}`; the columns that change most:\n\n{table}"
    )


def _limits(manifest: Manifest) -> str:
    metrics: Mapping[str, Any] = manifest.metrics
    worst = min(metrics["shapes"].items(), key=lambda item: float(item[1]))
    return (
        "## Limits\n\n"
        f"- The least well matched column is {worst[0]} ({worst[1]:.1%} by the quality report).\n"
        "- What is rare in the training rows is rare here too, and less exact: a combination seen once is not learnt.\n"
        "- No value lies outside of what the training table has, and no category is new: extremes are not explored.\n"
        "- Whatever is skewed or unjust in the training rows is so here.\n"
        "- Rows are independent of each other: there are no households, no histories."
    )
