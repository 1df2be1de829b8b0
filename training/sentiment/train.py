"""Train a model that tells the sentiment of a text and add it to the models.

python -m training sentiment
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from models.manifest import Manifest
from models.text import TextPreprocessing, TextReader, TokenIds
from training.averaging import average_gradients, average_weights
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, load_facts_of, save_checkpoint
from training.command import Places, setting
from training.errors import DivergenceError, SettingError
from training.hardware import choose_precision
from training.optimizers import OPTIMIZERS, SCHEDULES, build_optimizers, learning_rate_factor, scale_learning_rates
from training.progress import Progress
from training.sentiment.adversarial import perturb_by_label, virtual_adversarial_loss
from training.sentiment.batches import draw_batches, measure_lengths, pad
from training.sentiment.data import TextData, load_data
from training.sentiment.leans import count_tokens
from training.sentiment.model import ARCHITECTURES, POOLINGS, Ends, Reader, SentimentNetwork
from training.sentiment.ngrams import NgramClassifier, count_columns
from training.sentiment.predict import predict
from training.sentiment.pretrain import Pretraining, digest_texts, pretrain
from training.sentiment.publish import fit_ngrams_of, publish_version
from training.sentiment.shards import Shards
from training.sentiment.teacher import Teacher
from training.sentiment.tokenizer import SPECIAL_TOKENS, UNKNOWN_ID, train_tokenizer
from training.sentiment.vectors import load_vectors

PRETRAIN_VALIDATION_TEXTS = 256
SCALE_TEXTS = 512


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. What the recipe of an architecture does not set keeps the default here."""

    data: str = setting("imdb", "imdb, its archive or folder, or a CSV, TSV, Parquet or JSON-lines file")
    text_column: str = setting("", "of a file: the column with texts; if not given, the one with a usual name")
    label_column: str = setting("", "of a file: the column with labels; if not given, the one with a usual name")
    max_texts: int = setting(0, "use only so many training, test and unlabelled texts; 0: all", minimum=0)
    validation_fraction: float = setting(0.08, "the share of training texts held out to watch by", None, 0, 1)
    architecture: str = setting("bilstm", "the network", tuple(ARCHITECTURES))
    pooling: str = setting("concat", "how the states of all tokens become one vector", POOLINGS)
    vocabulary_size: int = setting(16_000, "tokens at most", minimum=300)
    max_tokens: int = setting(1_024, "tokens that are read of a text, at its two ends", minimum=8)
    learnt_tokens: int = setting(400, "those of them that the network learns from, at the two ends again", minimum=8)
    head_fraction: float = setting(0.3, "the share of these that is read at the beginning", None, 0.05, 0.95)
    dimensions: int = setting(128, "of a token's embedding", minimum=1)
    hidden: int = setting(256, "units of a recurrent layer, in each direction", minimum=1)
    layers: int = setting(1, "recurrent layers", minimum=1)
    embeddings: str = setting("", "a file of GloVe or word2vec vectors as text, of so many dimensions, to start from")
    pretrain: str = setting("language_model", "what is learnt before labels are", ("language_model", "none"))
    pretrain_epochs: int = setting(4, "pre-training: passes over labelled and unlabelled texts", minimum=1)
    pretrain_batch_size: int = setting(64, "pre-training: texts in one step", minimum=1)
    pretrain_learning_rate: float = setting(3e-3, "pre-training: the highest learning rate", minimum=0)
    pretrain_negatives: int = setting(384, "pre-training: tokens that the next one is told from", minimum=1)
    epochs: int = setting(9, "passes over the labelled texts", minimum=1)
    batch_size: int = setting(64, "labelled texts in one step, and as many unlabelled ones", minimum=1)
    optimizer: str = setting("adam", "the optimiser", OPTIMIZERS)
    learning_rate: float = setting(1e-3, "the highest learning rate", minimum=0)
    momentum: float = setting(0.9, "sgd, rmsprop, muon: the momentum", None, 0, 1)
    weight_decay: float = setting(0.0, "L2 regularisation of weights", minimum=0)
    schedule: str = setting("linear", "how the learning rate falls", SCHEDULES)
    warmup_fraction: float = setting(0.05, "the share of the training in which the learning rate rises", None, 0, 0.9)
    max_norm: float = setting(1.0, "gradients are scaled down to this norm", minimum=0)
    embedding_dropout: float = setting(0.25, "the share of values of embeddings dropped", None, 0, 0.95)
    word_dropout: float = setting(0.05, "the share of tokens replaced by the unknown one", None, 0, 0.95)
    layer_dropout: float = setting(0.2, "the share of values dropped between recurrent layers", None, 0, 0.95)
    dropout: float = setting(0.3, "the share of pooled values dropped", None, 0, 0.95)
    adversarial: str = setting(
        "label", "against whom: the worst small change by label, by prediction", ("none", "label", "prediction", "both")
    )
    perturbation: float = setting(5.0, "the size of that change, in deviations of embeddings", minimum=0)
    unlabelled_weight: float = setting(
        1.0, "the weight of unlabelled texts, by what the model thinks of them from its second epoch on", minimum=0
    )
    ngrams: int = setting(3, "the longest runs of tokens that are weighed beside the network; 0: none are", minimum=0)
    ngram_weights: int = setting(4_194_304, "how many weights these share, over all classes", minimum=512)
    ngram_regularisation: float = setting(100.0, "the inverse of the penalty on these weights", minimum=1e-6)
    average_decay: float = setting(0.998, "of the averaged weights that are served; 0: the last ones", None, 0, 1)
    precision: str = setting("auto", "arithmetic; auto: bf16 where the device has it", ("auto", "bf16", "fp32"))
    seed: int = setting(0, "decides every random choice", minimum=0)


PLAIN = {
    "pretrain": "none",
    "adversarial": "none",
    "unlabelled_weight": 0.0,
    "epochs": 5,
    "learning_rate": 2e-3,
    "hidden": 128,
    "ngrams": 0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "lstm": {**PLAIN, "pooling": "last"},
    "gru": {**PLAIN, "pooling": "max"},
    "bilstm": {},
}
SMOKE = {"max_texts": 200, "epochs": 2, "pretrain_epochs": 1, "vocabulary_size": 1000, "hidden": 16, "dimensions": 16}


@dataclass(frozen=True)
class Texts:
    """The data as token ids, with what read it."""

    data: TextData
    tokenizer: Tokenizer
    preprocessing: TextPreprocessing
    learnt: Ends  # what the network reads while it learns, which is what takes long
    train: Sequence[TokenIds]  # whole
    unlabelled: Sequence[TokenIds]  # whole
    validation: Sequence[TokenIds]  # as they are read

    @property
    def others(self) -> Sequence[TokenIds]:
        """The texts whose labels are not looked at where the labelled ones are learnt."""
        return self.unlabelled or self.train

    @property
    def vocabulary(self) -> int:
        """The tokens."""
        return self.tokenizer.get_vocab_size()

    @property
    def read(self) -> Ends:
        """What is read in the end."""
        head = self.preprocessing.head_tokens
        return Ends(head, self.preprocessing.max_tokens - head)


@dataclass
class State:
    """A training between two epochs. ``average`` holds the weights that are evaluated and served, ``ngrams`` stay."""

    network: SentimentNetwork
    average: AveragedModel
    optimizers: list[Optimizer]
    pretraining: list[dict[str, float]]
    ngrams: NgramClassifier | None
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint keeps, by name."""
        return {"network": self.network, "average": self.average}

    @property
    def served(self) -> SentimentNetwork:
        """The averaged network."""
        return self.average.module  # type: ignore[return-value]


class Part(NamedTuple):
    """A shard's share of a step."""

    labelled: Sequence[TokenIds]
    labels: Tensor
    others: Sequence[TokenIds]  # whose labels are not looked at
    beliefs: Tensor | None  # what is thought of them, (others, classes)
    seed: int


def run(config: Config, places: Places, *, resume: bool) -> Manifest | None:
    """Pre-train, train, evaluate once on the test split, and add a version to the models.

    Returns:
        The version's manifest; None in a process that is not the main one.

    Raises:
        TrainingError: a setting, the data, a loss that is no number, or an export that is not faithful.
    """
    accelerator = Accelerator(mixed_precision=choose_precision(config.precision))
    texts = load_and_tokenize(config, places.cache)
    state = start(config, texts, places.cache, accelerator)
    if resume:
        restore(state, config, places.output / CHECKPOINT_FILE)
    train(config, state, texts, accelerator, places.output)
    if not accelerator.is_main_process:
        return None
    return publish_version(config, texts, state, places.models)


def load_and_tokenize(config: Config, cache: Path) -> Texts:
    """Load the data, and learn the tokenizer from the training texts, unlabelled ones included.

    Raises:
        DataError: the data cannot be used.
        SettingError: no n-gram has a bucket.
    """
    data = load_data(config, cache)
    tokenizer = train_tokenizer((*data.train.texts, *data.unlabelled), config.vocabulary_size)
    tokens = tokenizer.get_vocab_size() * count_columns(len(data.labels))
    if config.ngrams and config.ngram_weights <= tokens:
        raise SettingError(
            f"ngram_weights: {config.ngram_weights}, expected more than {tokens}, which tokens have for themselves"
        )
    read = _divide(config.max_tokens, config)
    preprocessing = TextPreprocessing(max_tokens=sum(read), head_tokens=read.head, unknown_id=UNKNOWN_ID)
    whole = TextReader(tokenizer, TextPreprocessing(max_tokens=65_536, head_tokens=65_535, unknown_id=UNKNOWN_ID))
    train, unlabelled = (
        [reading.ids for reading in whole.read_all(texts)] for texts in (data.train.texts, data.unlabelled)
    )
    validation = [reading.ids for reading in TextReader(tokenizer, preprocessing).read_all(data.validation.texts)]
    learnt = _divide(min(config.max_tokens, config.learnt_tokens), config)
    return Texts(data, tokenizer, preprocessing, learnt, train, unlabelled, validation)


def _divide(tokens: int, config: Config) -> Ends:
    """So many tokens, at the two ends of a text."""
    head = min(max(round(config.head_fraction * tokens), 1), tokens - 1)
    return Ends(head, tokens - head)


def start(config: Config, texts: Texts, cache: Path, accelerator: Accelerator) -> State:
    """A network that knows no label yet, on the accelerator's device, and n-grams, which know all they ever will."""
    torch.manual_seed(config.seed)
    reader = Reader(
        config.architecture, texts.vocabulary, config.dimensions, config.hidden, config.layers, config.layer_dropout
    )
    if config.embeddings:
        load_vectors(Path(config.embeddings), texts.tokenizer, reader.embedding)
    pretraining = []
    if config.pretrain == "language_model":
        pretraining = pretrain_reader(config, texts, reader, cache, accelerator)
    network = SentimentNetwork(reader, config.pooling, len(texts.data.labels))
    sample = texts.learnt.take(texts.train[:: max(1, len(texts.train) // SCALE_TEXTS)])
    with torch.no_grad():
        network.set_scale(torch.cat([network.pool_texts(pad([ids])) for ids in sample]))
    network = network.to(accelerator.device)
    optimizers = build_optimizers(config.optimizer, network, config.learning_rate, config.momentum, config.weight_decay)
    average = average_weights(network, config.average_decay)
    return State(network, average, optimizers, pretraining, fit_ngrams_of(config, texts))


def pretrain_reader(
    config: Config, texts: Texts, reader: Reader, cache: Path, accelerator: Accelerator
) -> list[dict[str, float]]:
    """Let ``reader`` learn from all training texts without their labels; a record for each epoch."""
    everything = [*texts.train, *texts.unlabelled]
    plan = Pretraining(
        texts=digest_texts(everything),
        architecture=config.architecture,
        vocabulary=texts.vocabulary,
        dimensions=config.dimensions,
        hidden=config.hidden,
        layers=config.layers,
        max_tokens=sum(texts.learnt),
        epochs=config.pretrain_epochs,
        batch_size=config.pretrain_batch_size,
        learning_rate=config.pretrain_learning_rate,
        negatives=config.pretrain_negatives,
        precision=config.precision,
        seed=config.seed,
    )
    return pretrain(reader, plan, everything, texts.validation[:PRETRAIN_VALIDATION_TEXTS], cache, accelerator)


def train(config: Config, state: State, texts: Texts, accelerator: Accelerator, output: Path) -> None:
    """Run the epochs that are left, with a checkpoint after each."""
    counts = count_tokens(texts)
    # Dropout between layers draws from one generator for all threads.
    shards = Shards(accelerator.device, 1 if config.layers > 1 else None)
    teacher = Teacher(state.ngrams, texts, shards, accelerator) if trains_itself(config, texts) else None
    with Progress(config.epochs, output, state.history, accelerator.is_main_process) as progress:
        while state.epoch < config.epochs:
            began = time.monotonic()
            deviation = measure_deviation(state.network.reader.embedding.weight, counts)
            train_loss, train_accuracy = train_epoch(
                config, state, texts, teacher, deviation, shards, accelerator, progress
            )
            loss, accuracy = evaluate(state.served, texts, shards)
            state.epoch += 1
            state.seconds += time.monotonic() - began
            record = {
                "epoch": state.epoch,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "learning_rate": state.optimizers[0].param_groups[0]["lr"],
                "seconds": state.seconds,
            }
            state.history.append(record)
            progress.epoch(record)
            if accelerator.is_main_process:
                save(state, config, output / CHECKPOINT_FILE)


def train_epoch(
    config: Config,
    state: State,
    texts: Texts,
    teacher: Teacher | None,
    deviation: float,
    shards: Shards,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[float, float]:
    """One pass over the labelled texts, with as many others; the mean loss and the accuracy as it learnt."""
    # One seed for each epoch, so that a resumed training draws what an uninterrupted one would.
    generator = np.random.default_rng((config.seed, 1, state.epoch))
    torch.manual_seed(config.seed * 1_000_003 + state.epoch)
    labelled, others = (texts.learnt.take(some) for some in (texts.train, texts.others))
    steps = math.ceil(len(labelled) / config.batch_size)
    companions = list(islice(_draw_for_ever(others, config.batch_size, generator), steps))
    beliefs = None
    if teacher is not None and state.epoch:
        beliefs = teacher.believe(state.served, np.unique(np.concatenate(companions)))
    labels = torch.from_numpy(texts.data.train.labels)
    state.network.train()
    total_loss, correct, seen = 0.0, 0, 0
    for step, rows in enumerate(draw_batches(measure_lengths(labelled), config.batch_size, generator)):
        set_learning_rate(config, state.optimizers, (state.epoch + step / steps) / config.epochs)
        seed = int(generator.integers(2**40)) + accelerator.process_index
        rows, more = (share(some, accelerator) for some in (rows, companions[step]))
        parts = [
            Part(
                labelled=[labelled[row] for row in of_labelled],
                labels=labels[of_labelled],
                others=[others[row] for row in of_others],
                beliefs=None if beliefs is None else beliefs[of_others],
                seed=seed + number * 2**41,
            )
            for number, (of_labelled, of_others) in enumerate(zip(shards.split(rows), shards.split(more), strict=False))
        ]
        loss, hits = train_step(config, state, parts, deviation, shards, accelerator)
        total_loss, correct, seen = total_loss + loss * len(rows), correct + hits, seen + len(rows)
        progress.step(state.epoch, step + 1, steps, total_loss / seen, correct / seen)
    return total_loss / seen, correct / seen


def trains_itself(config: Config, texts: Texts) -> bool:
    """Whether the network learns from what is thought of unlabelled texts."""
    return bool(texts.unlabelled and config.unlabelled_weight)


def train_step(
    config: Config, state: State, parts: Sequence[Part], deviation: float, shards: Shards, accelerator: Accelerator
) -> tuple[float, int]:
    """One step; the mean loss of the labelled texts as they are, and the number of right answers.

    Raises:
        DivergenceError: the loss is no number.
    """
    count, others = sum(len(part.labelled) for part in parts), sum(len(part.others) for part in parts)
    against_prediction = config.adversarial in ("prediction", "both")

    def learn(part: Part) -> tuple[float, int]:
        """Add a part's share of the gradient; the sum of its losses, and its right answers."""
        generator = torch.Generator(accelerator.device).manual_seed(part.seed)
        labels = part.labels.to(accelerator.device)
        with accelerator.autocast():
            view = View(config, state.network, part.labelled, generator, accelerator.device)
            vectors = view.embed()
            logits = view.classify(vectors).float()
            loss = F.cross_entropy(logits, labels, reduction="sum")
            if config.adversarial in ("label", "both"):
                vectors.retain_grad()
            (loss / count).backward()  # type: ignore[no-untyped-call]
            if config.adversarial in ("label", "both"):
                assert vectors.grad is not None  # noqa: S101  # retained
                worst = perturb_by_label(vectors.grad, config.perturbation * deviation)
                attacked = F.cross_entropy(view.classify(view.embed() + worst).float(), labels, reduction="sum")
                (attacked / count).backward()  # type: ignore[no-untyped-call]
            if part.beliefs is not None or against_prediction:
                other = View(config, state.network, part.others, generator, accelerator.device)
            if part.beliefs is not None:
                beliefs = part.beliefs.to(accelerator.device)
                agreed = F.cross_entropy(other.classify(other.embed()).float(), beliefs, reduction="sum")
                (agreed * (config.unlabelled_weight / others)).backward()  # type: ignore[no-untyped-call]
            if against_prediction:
                moved = virtual_adversarial_loss(
                    other.classify, other.embed(), other.present, config.perturbation * deviation, deviation, generator
                )
                (moved * (len(part.others) / others)).backward()  # type: ignore[no-untyped-call]
        return loss.item(), int((logits.argmax(1) == labels).sum())

    results = shards.run(learn, parts)
    value = sum(loss for loss, _ in results) / count
    if not math.isfinite(value):
        raise DivergenceError(
            f"the loss is {value} in epoch {state.epoch + 1}: expected a number; try a lower learning_rate than "
            f"{config.learning_rate}"
        )
    average_gradients(state.network, accelerator)
    if config.max_norm:
        nn.utils.clip_grad_norm_(state.network.parameters(), config.max_norm)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    state.average.update_parameters(state.network)
    return value, sum(hits for _, hits in results)


class View:
    """Some texts with one draw of what is dropped of them, so that each look at them is the same.

    Args:
        config: how much is dropped.
        network: that looks.
        texts: token ids.
        generator: draws.
        device: of the network.
    """

    def __init__(
        self,
        config: Config,
        network: SentimentNetwork,
        texts: Sequence[TokenIds],
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        ids = pad(texts).to(device)
        self.network, self.present = network, ids != 0
        self.lengths = self.present.sum(1)
        dropped = torch.rand(ids.shape, generator=generator, device=device) < config.word_dropout
        self.ids = ids.masked_fill(dropped & (ids >= len(SPECIAL_TOKENS)), UNKNOWN_ID)
        dimensions = network.reader.embedding.embedding_dim
        self.keep_values = draw_kept((*ids.shape, dimensions), config.embedding_dropout, generator, device)
        self.keep_pooled = draw_kept((len(ids), network.classifier.in_features), config.dropout, generator, device)

    def embed(self) -> Tensor:
        """The embeddings that are left, (batch, sequence, dimensions)."""
        vectors: Tensor = self.network.reader.embedding(self.ids)
        return vectors * self.keep_values

    def classify(self, vectors: Tensor) -> Tensor:
        """Logits from embeddings, (batch, classes)."""
        return self.network.classify(vectors, self.lengths, self.keep_pooled)


def draw_kept(shape: Sequence[int], share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """What values are multiplied by when a ``share`` of them is dropped: 0, or what keeps the mean."""
    return (torch.rand(shape, generator=generator, device=device) >= share).float() / (1 - share)


def _draw_for_ever(
    texts: Sequence[TokenIds], batch_size: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """The rows of batches, all of one size: every row once before any comes again, but for what fills up the last."""
    while True:
        for rows in draw_batches(measure_lengths(texts), batch_size, generator):
            yield np.resize(rows, batch_size)


def share(rows: NDArray[np.int64], accelerator: Accelerator) -> NDArray[np.int64]:
    """The part of a batch that is this process's, one row at least."""
    part = rows[accelerator.process_index :: accelerator.num_processes]
    return part if len(part) else rows[:1]


def measure_deviation(embedding: Tensor, counts: NDArray[np.int64]) -> float:
    """The standard deviation of the values of embeddings, tokens weighted by how often they stand in the texts."""
    weights = torch.from_numpy(counts / counts.sum()).to(embedding)[:, None]
    values = embedding.detach()
    mean = (weights * values).sum(0)
    return float((weights * (values - mean) ** 2).sum(0).mean().sqrt())


def evaluate(network: SentimentNetwork, texts: Texts, shards: Shards) -> tuple[float, float]:
    """The loss and the accuracy of ``network`` on the validation split, in single precision."""
    logits = predict(network, texts.validation, shards)
    labels = torch.from_numpy(texts.data.validation.labels)
    return float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())


def set_learning_rate(config: Config, optimizers: Sequence[Optimizer], progress: float) -> None:
    """Set the learning rates of all groups to their highest times the schedule's factor."""
    scale_learning_rates(optimizers, learning_rate_factor(config.schedule, config.warmup_fraction, progress))


def save(state: State, config: Config, path: Path) -> None:
    """Write the state with the configuration that it belongs to."""
    facts = {"config": asdict(config), "epoch": state.epoch, "seconds": state.seconds, "history": state.history}
    save_checkpoint(path, state.modules(), state.optimizers, facts)


def restore(state: State, config: Config, path: Path) -> None:
    """Go on where a checkpoint of the same configuration stands.

    Raises:
        SettingError: there is none, or its configuration is another.
    """
    facts = load_facts_of(path, config)
    load_checkpoint(path, state.modules(), state.optimizers)
    state.epoch, state.seconds, state.history = facts["epoch"], facts["seconds"], facts["history"]
