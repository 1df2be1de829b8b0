"""The model card: what a version is, what it is for, how good it is, how it errs, and how to make it again.

Its sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". Every number comes
from the manifest or from the arrays that it was computed from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import CARD_FILE, Manifest, find_preprocessing
from models.text import TextPreprocessing
from training.diagrams import draw_confusion_matrix, draw_reliability
from training.metrics import measure_reliability
from training.sections import (
    count,
    describe_data,
    describe_making,
    enumerate_names,
    list_figures,
    list_settings,
    make_class_table,
    make_details,
    make_table,
    make_title,
)
from training.sentiment.comparison import RESULTS, load_runs, make_comparison
from training.sentiment.lengths import LengthBin, find_interval, measure_by_length
from training.sentiment.model import ARCHITECTURES, Ends
from training.sentiment.pictures import draw_learning_curves, draw_lengths, draw_words
from training.sentiment.quotation import escape, quote
from training.sentiment.words import find_neighbours, map_words

IMDB = "imdb"
IMDB_TESTS = 25_000
MISTAKES = 12
QUOTED_CHARACTERS = 300
LABELS_SHOWN = 20
SURE = 0.9
AROUND = 2  # the tokens before and behind each text, which ``CardFacts.tokens`` does not count

# In the order of the table. A metric that the manifest does not have is left out.
SCORES: Mapping[str, tuple[str, str]] = {
    "accuracy_int8": ("Accuracy of the graph in 8 bits", ".2%"),
    "negative_log_likelihood": ("Negative log-likelihood", ".4f"),
    "expected_calibration_error": ("Expected calibration error, 15 bins", ".2%"),
    "brier_score": ("Brier score, summed over classes", ".4f"),
    "truncated_share": ("Test texts longer than it reads", ".2%"),
    "export_difference": ("Largest difference of the graph to the network, in probability", ".1e"),
    "graph_bytes": ("Size of the graph, in bytes", ",.0f"),
    "graph_bytes_int8": ("Size of the graph in 8 bits, in bytes", ",.0f"),
}
POOLED = {
    "last": "the last state of each direction",
    "max": "the largest value of each unit over the text",
    "mean": "the mean of each unit over the text",
    "concat": "the last state, the largest and the mean value of each unit",
    "attention": "a mean of the states whose weights are learnt",
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from. Tokens are counted without the two around a text."""

    manifest: Manifest
    # epoch, train_loss, train_accuracy, validation_loss, validation_accuracy
    history: Sequence[Mapping[str, float]]
    # epoch, forward_loss, backward_loss where it reads backwards, validation_loss, in nats a token; none without it
    pretraining: Sequence[Mapping[str, float]]
    texts: Sequence[str]  # of the test split
    labels: NDArray[np.int64]  # (test texts,)
    probabilities: NDArray[np.float32]  # (test texts, classes)
    tokens: NDArray[np.int64]  # (test texts,) of the whole text
    embeddings: NDArray[np.float32]  # (vocabulary, dimensions)
    vocabulary: Sequence[str]
    counts: NDArray[np.int64]  # (vocabulary,) how often each token stands in the training texts
    learnt: Ends  # what the network has learnt from of a text
    unlabelled: int  # texts without a label that it learnt from
    # (vocabulary,) natural logarithm of a token's frequency in texts of the last class to that in the others
    leans: NDArray[np.float32] | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """(test texts,) whether each was classified rightly."""
        right: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return right

    @property
    def limit(self) -> int:
        """The tokens of the longest text that is read whole."""
        return find_preprocessing(self.manifest, TextPreprocessing).max_tokens - AROUND


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write ``card.md`` and its pictures into ``folder``.

    Raises:
        DataError: a file of the comparison of architectures cannot be read.
    """
    labels = facts.manifest.labels
    bins = measure_by_length(facts.tokens, facts.right, facts.limit)
    draw_learning_curves(folder / "learning_curves.png", facts.history, facts.pretraining)
    draw_confusion_matrix(folder / "confusion_matrix.png", _confusion_matrix(facts.manifest), labels, "texts")
    draw_reliability(folder / "reliability.png", measure_reliability(facts.probabilities, facts.labels))
    draw_lengths(folder / "lengths.png", bins, facts.limit)
    words = map_words(facts.embeddings, facts.vocabulary, facts.counts, facts.leans)
    draw_words(folder / "words.png", words, labels)
    sections = (
        _details(facts),
        _intended_use(facts.manifest),
        _data(facts.manifest),
        _training(facts),
        _comparison(facts.manifest),
        _results(facts),
        _lengths(facts, bins),
        _mistakes(facts),
        _words(facts),
        _limits(facts, bins),
        describe_making(facts.manifest),
    )
    (folder / CARD_FILE).write_text("\n\n".join(filter(None, sections)) + "\n", encoding="utf-8")


def _details(facts: CardFacts) -> str:
    manifest, reading = facts.manifest, find_preprocessing(facts.manifest, TextPreprocessing)
    architecture = ARCHITECTURES[manifest.architecture]
    directions = "forwards and backwards" if architecture.directions == 2 else "forwards"
    pooling = str(manifest.provenance.settings["pooling"])
    read = Ends(reading.head_tokens, reading.max_tokens - reading.head_tokens)
    labels = enumerate_names([escape(label) for label in manifest.labels], LABELS_SHOWN)
    rows = (
        ("Architecture", f"`{manifest.architecture}`, {manifest.parameters:,} parameters"),
        (
            "How it reads",
            f"{architecture.cell.__name__}, {directions}; then `{pooling}`: {POOLED[pooling]}",
        ),
        *_beside(manifest),
        (
            "Input",
            f"a text, as words and pieces of rare words, of which it knows {len(facts.vocabulary):,}; "
            f"{_say_ends(read)}",
        ),
        ("Output", f"a calibrated probability for each of {len(manifest.labels)} classes: {labels}"),
    )
    return f"{make_title(manifest)}\n\n## Model details\n\n{make_details(manifest, rows)}"


def _say_ends(ends: Ends) -> str:
    return f"of more than {sum(ends):,} tokens the first {ends.head:,} and the last {ends.tail:,}"


def _beside(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    longest = manifest.provenance.settings["ngrams"]
    if not longest:
        return ()
    weights = manifest.provenance.settings["ngram_weights"]
    what = f"a linear classifier of the n-grams of 1 to {longest} tokens, hashed to {weights:,} weights of eight bits"
    return (("Beside it", what),)


def _intended_use(manifest: Manifest) -> str:
    about = (
        "Saying whether a film review in English is for or against the film."
        if _is_imdb(manifest)
        else (
            f"Saying which of the {len(manifest.labels)} classes a text is of, where it is like the texts of "
            f"`{manifest.provenance.data.name}`."
        )
    )
    return (
        f"## Intended use\n\n{about} The probabilities are fit to choose a threshold below which a person reads, or "
        "nothing is said.\n\n"
        "It is not made for judging who wrote a text, for finding what in a text an opinion is about, or for "
        "decisions about people."
    )


def _data(manifest: Manifest) -> str:
    ngrams = "; in the end the weights of n-grams" if "ngrams_weight" in manifest.metrics else ""
    return describe_data(
        manifest,
        examples="texts",
        digested="training texts",
        training="the vocabulary and the weights",
        validation=f"watched during training; what logits are multiplied by{ngrams}",
    )


def _training(facts: CardFacts) -> str:
    best = max(facts.history, key=lambda record: record["validation_accuracy"])
    return (
        f"## Training\n\n{_pretraining(facts.pretraining)}{count(len(facts.history), 'epoch')}; best validation "
        f"accuracy {best['validation_accuracy']:.2%} in epoch {best['epoch']:.0f}. {_self_training(facts)}Of "
        f"a long text the network learnt a part: {_say_ends(facts.learnt)}. "
        "Training loss and accuracy are measured while the network learns, so they can be worse than those of the "
        "validation texts.\n\n"
        f"![Losses and accuracy over epochs](learning_curves.png)\n\n{list_settings(facts.manifest)}"
    )


def _pretraining(records: Sequence[Mapping[str, float]]) -> str:
    if not records:
        return ""
    loss = records[-1]["validation_loss"]
    ways = "the next token, and backwards the one before," if "backward_loss" in records[0] else "the next token"
    return (
        f"Before it saw a label, the network learnt to predict {ways} of training texts: "
        f"{count(len(records), 'epoch')}, at whose end a token of the validation texts costs {loss:.3f} nats, as if "
        f"{math.exp(loss):,.0f} tokens were equally likely. The training losses of this phase are of a sample of the "
        "vocabulary, and cannot be compared with that. Then the classifier: "
    )


def _self_training(facts: CardFacts) -> str:
    weight = facts.manifest.provenance.settings["unlabelled_weight"]
    if not (facts.unlabelled and weight):
        return ""
    return (
        f"From the second epoch on, as many of the {count(facts.unlabelled, 'text')} without a label were learnt in "
        "every step as of those with one: as the probabilities that the network of the epoch before and the n-grams "
        f"gave them together, with a weight of {weight:g}. "
    )


def _comparison(manifest: Manifest) -> str:
    runs = load_runs(RESULTS) if _is_imdb(manifest) else []
    if not runs:
        return ""
    best, hardware = runs[0], ", ".join(sorted({run.hardware for run in runs}))
    low, high = find_interval(round(best.accuracy * IMDB_TESTS), IMDB_TESTS)
    commands = "\n".join(run.command for run in runs)
    return (
        "## The three architectures and the poolings, trained from scratch for the same number of epochs\n\n"
        f"{make_comparison(runs)}\n\nEach was trained once, on {hardware}. On so many test texts an accuracy of "
        f"{best.accuracy:.2%} is known to {(high - low) / 2:.2%}, so smaller differences say little.\n\n"
        f"```sh\n{commands}\n```"
    )


def _results(facts: CardFacts) -> str:
    metrics: Mapping[str, Any] = facts.manifest.metrics
    low, high = find_interval(int(facts.right.sum()), len(facts.texts))
    rows = [
        ("Accuracy", f"{metrics['accuracy']:.2%}"),
        ("95% interval of the accuracy", f"{low:.2%} to {high:.2%}"),
        *list_figures(metrics, SCORES),
    ]
    per_class = {escape(label): scores for label, scores in metrics["per_class"].items()}
    return (
        f"## Results\n\nOn the {count(len(facts.texts), 'text')} of the test split.\n\n"
        f"{make_table(('metric', 'value'), rows)}\n\n"
        f"{_describe_parts(metrics)} {_describe_sure(facts)}\n\n![Accuracy against confidence](reliability.png)\n\n"
        f"{make_class_table(per_class, 'test texts')}\n\n![Confusion matrix](confusion_matrix.png)"
    )


def _describe_parts(metrics: Mapping[str, Any]) -> str:
    if "ngrams_weight" not in metrics:
        return (
            f"Logits are multiplied by {metrics['network_weight']:.3f}, fitted on the validation split, so that "
            "confidence agrees with accuracy."
        )
    return (
        f"The network's logits are multiplied by {metrics['network_weight']:.3f}, those of the n-grams by "
        f"{metrics['ngrams_weight']:.3f}, and added. Both numbers were fitted on the validation split, so that "
        "confidence agrees with accuracy; then the n-grams learnt from that split as well. Alone, the network has "
        f"an accuracy of {metrics['accuracy_of_network']:.2%}, the n-grams have one of "
        f"{metrics['accuracy_of_ngrams']:.2%}."
    )


def _describe_sure(facts: CardFacts) -> str:
    sure = facts.probabilities.max(axis=1) >= SURE
    if not sure.any():
        return f"No answer has a confidence of {SURE:.0%} or more."
    right = facts.right[sure].mean()
    return f"{sure.mean():.1%} of the answers have a confidence of {SURE:.0%} or more; of these {right:.1%} are right."


def _lengths(facts: CardFacts, bins: Sequence[LengthBin]) -> str:
    rows = [
        (
            f"{part.shortest:,} to {part.longest:,}",
            f"{part.texts:,}",
            f"{part.accuracy:.2%}",
            f"{part.interval.low:.2%} to {part.interval.high:.2%}",
        )
        for part in bins
    ]
    return (
        f"## By length\n\nHalf of the test texts have at most {np.median(facts.tokens):,.0f} tokens. "
        f"{_describe_truncated(facts)}\n\n![Accuracy by the length of the text](lengths.png)\n\n"
        f"{make_table(('tokens', 'texts', 'accuracy', '95% interval'), rows)}"
    )


def _describe_truncated(facts: CardFacts) -> str:
    longer = facts.tokens > facts.limit
    if not longer.any():
        return f"None has more than the {facts.limit:,} that are read."
    low, high = find_interval(int(facts.right[longer].sum()), int(longer.sum()))
    return (
        f"{longer.sum():,} ({longer.mean():.2%}) have more than the {facts.limit:,} that are read, and lose their "
        f"middle: {facts.right[longer].mean():.2%} of them are right (95% interval {low:.2%} to {high:.2%})."
    )


def _mistakes(facts: CardFacts) -> str:
    predicted, confidence = facts.probabilities.argmax(axis=1), facts.probabilities.max(axis=1)
    wrong = np.flatnonzero(~facts.right)
    if not len(wrong):
        return "## Mistakes\n\nNo test text was mistaken."
    labels = [escape(label) for label in facts.manifest.labels]
    mistakes = [
        f"**{labels[predicted[row]]} with {confidence[row]:.2%}**, but its label is {labels[facts.labels[row]]}; "
        f"{count(int(facts.tokens[row]), 'token')}:\n\n> {quote(facts.texts[row], QUOTED_CHARACTERS)}"
        for row in wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    ]
    return (
        f"## Mistakes\n\n{len(wrong):,} of {len(facts.texts):,} test texts were mistaken. Most confidently these, of "
        "which long ones are quoted from both ends:\n\n" + "\n\n".join(mistakes)
    )


def _words(facts: CardFacts) -> str:
    neighbours = find_neighbours(facts.embeddings, facts.vocabulary, facts.counts)
    rows = [
        (
            f"**{escape(item.word)}**",
            f"{item.count:,}",
            ", ".join(f"{escape(word)} {cosine:.2f}" for word, cosine in item.nearest),
        )
        for item in neighbours
    ]
    table = make_table(("word", "in the training texts", "most alike, with the cosine"), rows)
    return (
        "## Words\n\nEach token has an embedding, "
        f"{count(facts.embeddings.shape[1], 'number')} that training has found. Words that are used alike have "
        f"embeddings in like directions:\n\n{table}\n\n"
        "t-SNE puts words near each other whose embeddings are alike; distances between far groups mean nothing.\n\n"
        "![A map of the most frequent words](words.png)"
    )


def _limits(facts: CardFacts, bins: Sequence[LengthBin]) -> str:
    manifest = facts.manifest
    per_class: Mapping[str, Any] = manifest.metrics["per_class"]  # type: ignore[assignment]
    worst, score = min(per_class.items(), key=lambda item: item[1]["recall"])
    items = (
        *_domain(manifest),
        f"It always answers, and the probabilities of the {len(manifest.labels)} classes add up to one: for a text in "
        "a language that it has not learnt, or for one without an opinion, they can be high all the same.",
        f"The shortest test text has {count(int(facts.tokens.min()), 'token')}. How good it is on shorter ones was "
        "not measured.",
        *_hardest(bins),
        f"It is not equally good at all classes: it finds {score['recall']:.1%} of {escape(worst)}, the least.",
        "Irony, quotations, and opinions on something else than what the text is about were not measured apart; the "
        "mistakes above show what it takes them for.",
        "Names of people, places and groups can move its answer, as they do in the training texts. This was not "
        "examined.",
    )
    return "## Limits\n\n" + "\n".join(f"- {item}" for item in items)


def _domain(manifest: Manifest) -> tuple[str, ...]:
    if not _is_imdb(manifest):
        return (
            f"It knows texts like those of `{manifest.provenance.data.name}`. On others it is less often right "
            "than the tables say, and its probabilities are too high.",
        )
    return (
        "It knows film reviews in English, collected from one site by 2011 (Maas et al.). On others, on products, news "
        "or short messages, it was not measured; expect it to be less often right than the tables say, and its "
        "probabilities to be too high.",
        "The reviews are those with at most four or at least seven of ten stars. There is no class for what lies "
        "between, and no labelled text was like it.",
    )


def _hardest(bins: Sequence[LengthBin]) -> tuple[str, ...]:
    if len(bins) == 1:
        return ()
    worst = min(bins, key=lambda part: part.accuracy)
    where = f"{worst.shortest:,} to {worst.longest:,} tokens"
    return (f"It is least often right on texts of {where}: {worst.accuracy:.1%} of {worst.texts:,}.",)


def _is_imdb(manifest: Manifest) -> bool:
    return manifest.provenance.data.name == IMDB


def _confusion_matrix(manifest: Manifest) -> NDArray[np.int64]:
    return np.asarray(manifest.metrics["confusion_matrix"], dtype=np.int64)
