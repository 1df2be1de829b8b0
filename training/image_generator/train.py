"""Train a generator of images and add it to the models.

python -m training image_generator
"""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from models.manifest import Manifest
from training.augmentation import check_room, cut_out, mirror, translate
from training.averaging import average_gradients, average_weights
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, load_facts_of, save_checkpoint
from training.command import Places, setting
from training.errors import DivergenceError
from training.hardware import choose_precision
from training.image_generator.data import load_data, to_signed
from training.image_generator.judge import Judge, Reading, Recipe, read, train_judge
from training.image_generator.losses import (
    LOSSES,
    discriminator_loss,
    generator_loss,
    lipschitz_penalty,
    match_features,
    zero_centred_penalty,
)
from training.image_generator.model import Shape, Verdict, build_discriminator, build_generator
from training.image_generator.pictures import arrange
from training.image_generator.publish import Learnt, publish_version
from training.image_generator.sampling import generate, settle_statistics
from training.image_generator.watch import check_health, watch
from training.images import ImageData, Images, Labels, Split, to_tensor
from training.noise import draw_noise
from training.optimizers import SCHEDULES, learning_rate_factor, scale_learning_rates
from training.progress import Progress

WATCHED_IMAGES = 3000
SAMPLE_COLUMNS = 8
MAX_SAMPLE_ROWS = 20


@dataclass(frozen=True)
class Config:
    """Everything that decides a run. What the recipe of an architecture does not set keeps the default here."""

    data: str = setting("fashion_mnist", "fashion_mnist, mnist, cifar10, or a folder of images by class")
    size: int = setting(0, "the side of the images in pixels, 28, 32 or 64, say; 0: that of the data", minimum=0)
    max_images: int = setting(0, "use only so many of the training and of the test images; 0: all", minimum=0)
    validation_fraction: float = setting(0.05, "the share of the training images held out to watch it", None, 0, 1)
    architecture: str = setting("sngan", "the networks", ("sngan", "dcgan", "mlp"))
    latents: int = setting(64, "how many numbers of noise an image is made from", minimum=2)
    width: int = setting(48, "sngan, dcgan: channels at the full size; twice as many below", minimum=4)
    spectral_norm: bool = setting(True, "keep the discriminator's layers from stretching their input")
    loss: str = setting("hinge", "what generator and discriminator minimise", LOSSES)
    label_smoothing: float = setting(0.0, "bce: how much less than certain real images are called real", None, 0, 0.5)
    classification_weight: float = setting(0.1, "the weight of telling classes apart, beside real from not", minimum=0)
    feature_matching: float = setting(0.0, "the weight of the distance of mean features, for the generator", minimum=0)
    lipschitz_penalty: float = setting(10.0, "wgan-gp: the weight of the penalty on slopes other than one", minimum=0)
    zero_penalty: float = setting(0.0, "the weight of the penalty on slopes at real images (R1)", minimum=0)
    penalty_interval: int = setting(8, "zero_penalty: in every how many steps it is computed", minimum=1)
    discriminator_steps: int = setting(1, "steps of the discriminator for each of the generator", minimum=1)
    epochs: int = setting(24, "passes of the discriminator over the training images", minimum=1)
    batch_size: int = setting(64, "real images in one step, over all devices", minimum=2)
    generator_learning_rate: float = setting(2.5e-4, "the generator's highest learning rate", minimum=0)
    discriminator_learning_rate: float = setting(5e-4, "the discriminator's highest learning rate", minimum=0)
    momentum: float = setting(0.0, "Adam's first decay", None, 0, 1)
    second_decay: float = setting(0.9, "Adam's second decay", None, 0, 1)
    schedule: str = setting("linear", "how the learning rates fall", SCHEDULES)
    warmup_fraction: float = setting(0.0, "the share of the training in which the learning rates rise", None, 0, 1)
    average_decay: float = setting(0.999, "the decay of the average of the weights over steps; 0: the last", None, 0, 1)
    flip: bool = setting(False, "mirror real images by chance")
    translate: int = setting(0, "shift what the discriminator sees by up to so many pixels", minimum=0)
    cut_out: int = setting(0, "blank a square of so many pixels of what the discriminator sees", minimum=0)
    judge_epochs: int = setting(12, "passes of the classifier that judges over real images", minimum=1)
    score_epochs: int = setting(12, "passes of the classifier that learns generated images alone", minimum=1)
    score_flip: bool = setting(True, "mirror by chance what it learns; not for digits and letters")
    score_label_smoothing: float = setting(0.1, "how much less than certain it is to be of a label", None, 0, 0.5)
    precision: str = setting("auto", "arithmetic; auto: bf16 where the device has it", ("auto", "bf16", "fp32"))
    seed: int = setting(0, "decides every random choice", minimum=0)


TEXTBOOK: dict[str, Any] = {
    "latents": 100,
    "spectral_norm": False,
    "loss": "bce",
    "label_smoothing": 0.1,
    "classification_weight": 0.0,
    "generator_learning_rate": 2e-4,
    "discriminator_learning_rate": 2e-4,
    "momentum": 0.5,
    "second_decay": 0.999,
}
RECIPES = {"sngan": {}, "dcgan": TEXTBOOK, "mlp": TEXTBOOK}
SMOKE = {
    "epochs": 2,
    "max_images": 600,
    "batch_size": 32,
    "width": 8,
    "judge_epochs": 2,
    "score_epochs": 2,
    "validation_fraction": 0.2,
}


@dataclass
class State:
    """A training between two epochs.

    ``average`` follows the generator's weights, ``best`` is how they were when validation liked them most.
    """

    generator: nn.Module
    discriminator: nn.Module
    average: AveragedModel
    best: nn.Module
    judge: Judge
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def modules(self) -> dict[str, nn.Module]:
        """Every network by its name in a checkpoint."""
        names = ("generator", "discriminator", "average", "best", "judge")
        return {name: getattr(self, name) for name in names}

    def optimizers(self) -> list[Optimizer]:
        """Both optimisers, in the order of a checkpoint."""
        return [self.generator_optimizer, self.discriminator_optimizer]


class Batch(NamedTuple):
    """Real images from -1 to 1, their labels, and noise for as many generated ones of the same labels."""

    images: Tensor  # (batch, channels, side, side)
    labels: Tensor  # (batch,)
    z: Tensor  # (batch, latents)


def run(config: Config, places: Places, *, resume: bool) -> Manifest | None:
    """Train, evaluate once on the test split, and add a version to the models.

    Returns:
        The version's manifest; None in a process that is not the main one.

    Raises:
        TrainingError: a setting, the data, a training that collapsed or diverged, or an export that is not faithful.
    """
    accelerator = Accelerator(mixed_precision=choose_precision(config.precision))
    data = load_data(config, places.cache)
    state = start(config, data, accelerator)
    if resume:
        restore(state, config, places.output / CHECKPOINT_FILE)
    else:
        teach_judge(config, state, data, accelerator)
    train(config, state, data, accelerator, places.output)
    if not accelerator.is_main_process:
        return None
    learnt = Learnt(state.best.cpu(), state.judge, state.history)
    return publish_version(config, data, learnt, accelerator, places.models)


def start(config: Config, data: ImageData, accelerator: Accelerator) -> State:
    """Networks that have learnt nothing yet, on the accelerator's device.

    Raises:
        SettingError: the images are too small to be changed as asked, or have a side that no doubling reaches.
    """
    torch.manual_seed(config.seed)
    side = data.preprocessing.height
    check_room((side, side), translate=config.translate, cut_out=config.cut_out)
    shape = Shape(data.preprocessing.channels, side, len(data.labels))
    place = {"device": accelerator.device, "memory_format": torch.channels_last}
    generator: nn.Module = build_generator(config, shape).to(**place)
    discriminator: nn.Module = build_discriminator(config, shape).to(**place)
    judge = Judge(shape.channels, shape.classes).to(**place)
    average = average_weights(generator, config.average_decay)
    decays = (config.momentum, config.second_decay)
    return State(
        generator,
        discriminator,
        average,
        copy.deepcopy(average.module),
        judge,
        Adam(generator.parameters(), config.generator_learning_rate, decays),
        Adam(discriminator.parameters(), config.discriminator_learning_rate, decays),
    )


def teach_judge(config: Config, state: State, data: ImageData, accelerator: Accelerator) -> None:
    """Train the classifier that watches the training and measures its result."""
    began = time.monotonic()
    state.judge = train_judge(data.train, len(data.labels), Recipe(config.judge_epochs), config.seed, accelerator)
    state.seconds += time.monotonic() - began


def train(config: Config, state: State, data: ImageData, accelerator: Accelerator, output: Path) -> None:
    """Run the epochs that are left, with a grid of samples and a checkpoint after each.

    Raises:
        DivergenceError: the training has collapsed or diverged.
    """
    real = read(state.judge, data.validation.images[:WATCHED_IMAGES])
    with Progress(config.epochs, output, state.history, accelerator.is_main_process, describe_epoch) as progress:
        while state.epoch < config.epochs:
            began = time.monotonic()
            losses = train_epoch(config, state, data.train, accelerator, progress)
            watched = evaluate(config, state, data, real, accelerator)
            keep_best(state, watched)
            state.epoch += 1
            state.seconds += time.monotonic() - began
            record = {
                "epoch": state.epoch,
                **losses,
                **watched,
                "learning_rate": state.generator_optimizer.param_groups[0]["lr"],
                "seconds": state.seconds,
            }
            state.history.append(record)
            progress.epoch(record)
            if accelerator.is_main_process:
                progress.picture("samples", state.epoch, draw_samples(config, state, len(data.labels), accelerator))
                save(state, config, output / CHECKPOINT_FILE)
            check_health(state.history, data.labels)


def train_epoch(
    config: Config, state: State, split: Split, accelerator: Accelerator, progress: Progress
) -> dict[str, float]:
    """One pass of the discriminator over ``split``; the mean of its loss and of the generator's."""
    # One seed for each epoch, so that a resumed training draws what an uninterrupted one would.
    torch.manual_seed(config.seed * 1_000_003 + state.epoch)
    random = torch.Generator().manual_seed(config.seed * 1_000_003 + state.epoch)
    state.generator.train()
    state.discriminator.train()
    steps = max(1, len(split) // (config.batch_size * config.discriminator_steps))
    batches = draw_batches(config, split, steps * config.discriminator_steps, random, accelerator)
    totals = np.zeros(2)
    for step in range(steps):
        progress_made = (state.epoch + step / steps) / config.epochs
        factor = learning_rate_factor(config.schedule, config.warmup_fraction, progress_made)
        scale_learning_rates(state.optimizers(), factor)
        totals += train_step(config, state, batches, step, random, accelerator)
        means = totals / (step + 1)
        progress.advance(state.epoch, step + 1, steps, f"losses {means[0]:.3f} and {means[1]:.3f}")
    return {"discriminator_loss": float(means[0]), "generator_loss": float(means[1])}


def draw_batches(
    config: Config, split: Split, count: int, random: torch.Generator, accelerator: Accelerator
) -> Iterator[Batch]:
    """``count`` batches in random order, this process's share of them; what fills no batch is left out."""
    images, labels = to_tensor(split.images), torch.from_numpy(split.labels)
    order = torch.randperm(len(split), generator=random)
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    for start in range(0, count * config.batch_size, config.batch_size):
        rows = order[start : start + config.batch_size]
        z = torch.randn(len(rows), config.latents, generator=random)[share]
        mirrored = torch.rand(len(rows), generator=random)[share] < (0.5 if config.flip else 0.0)
        rows = rows[share]
        pixels = mirror(images[rows], mirrored)
        device = accelerator.device
        yield Batch(to_signed(pixels.to(device)), labels[rows].to(device), z.to(device))


def train_step(
    config: Config,
    state: State,
    batches: Iterator[Batch],
    step: int,
    random: torch.Generator,
    accelerator: Accelerator,
) -> tuple[float, float]:
    """The steps of the discriminator, then one of the generator on the last images; the last of both losses.

    Raises:
        DivergenceError: a loss is no number.
    """
    for turn in range(config.discriminator_steps):
        batch = next(batches)
        with torch.set_grad_enabled(turn == config.discriminator_steps - 1), accelerator.autocast():
            fake = state.generator(batch.z, batch.labels)
        first = step * config.discriminator_steps + turn
        against = discriminator_step(config, state, batch, fake.detach(), first, random, accelerator)
    toward = generator_step(config, state, batch, fake, random, accelerator)
    for name, value in (("discriminator", against), ("generator", toward)):
        if not math.isfinite(value):
            raise DivergenceError(
                f"the training has diverged in epoch {state.epoch + 1}: the {name}'s loss is {value}, expected a "
                f"number; try lower learning rates than {config.generator_learning_rate} and "
                f"{config.discriminator_learning_rate}"
            )
    return against, toward


def discriminator_step(
    config: Config,
    state: State,
    batch: Batch,
    fake: Tensor,
    step: int,
    random: torch.Generator,
    accelerator: Accelerator,
) -> float:
    """One step of the discriminator on real and generated images; its loss without penalties."""
    on_real, on_fake = ask(config, state.discriminator, (batch.images, fake), batch.labels, random, accelerator)
    loss = discriminator_loss(config.loss, on_real.score, on_fake.score, config.label_smoothing)
    value = loss.item()
    if config.classification_weight:
        loss = loss + config.classification_weight * F.cross_entropy(on_real.class_logits, batch.labels)
    loss = loss + penalise(config, state.discriminator, batch, fake, step, random)
    apply(loss, state.discriminator, state.discriminator_optimizer, accelerator)
    return value


def penalise(
    config: Config, discriminator: nn.Module, batch: Batch, fake: Tensor, step: int, random: torch.Generator
) -> Tensor:
    """What the discriminator pays for its slopes, in single precision; zero in the steps between."""
    penalty = torch.zeros((), device=fake.device)
    if config.loss == "wgan-gp" and config.lipschitz_penalty:
        slopes = lipschitz_penalty(discriminator, batch.images, fake.float(), batch.labels, random)
        penalty = penalty + config.lipschitz_penalty * slopes
    if config.zero_penalty and step % config.penalty_interval == 0:
        slopes = zero_centred_penalty(discriminator, batch.images, batch.labels)
        if config.loss == "relativistic":
            slopes = slopes + zero_centred_penalty(discriminator, fake.float(), batch.labels)
        penalty = penalty + config.zero_penalty * config.penalty_interval * slopes
    return penalty


def generator_step(
    config: Config, state: State, batch: Batch, fake: Tensor, random: torch.Generator, accelerator: Accelerator
) -> float:
    """One step of the generator on the images that it made; its loss without what else it learns from."""
    needs_real = config.loss == "relativistic" or config.feature_matching > 0
    shown = (fake, batch.images) if needs_real else (fake,)
    state.discriminator.requires_grad_(False)
    on_fake, *on_real = ask(config, state.discriminator, shown, batch.labels, random, accelerator)
    state.discriminator.requires_grad_(True)
    real_score = on_real[0].score if on_real else on_fake.score[:0]
    loss = generator_loss(config.loss, real_score, on_fake.score)
    value = loss.item()
    if config.classification_weight:
        loss = loss + config.classification_weight * F.cross_entropy(on_fake.class_logits, batch.labels)
    if config.feature_matching:
        loss = loss + config.feature_matching * match_features(on_real[0].features, on_fake.features)
    apply(loss, state.generator, state.generator_optimizer, accelerator)
    state.average.update_parameters(state.generator)
    return value


def ask(
    config: Config,
    discriminator: nn.Module,
    batches: Sequence[Tensor],
    labels: Tensor,
    random: torch.Generator,
    accelerator: Accelerator,
) -> list[Verdict]:
    """The discriminator's verdict on each of some batches of images of the same labels.

    In one pass, unless images of a batch share statistics: those of real and generated images together would be others
    than those of generated ones alone, by which the generator learns, and each would learn what is not so for the other
    (Chintala et al. 2016, "How to train a GAN?", point 4).
    """
    seen = alter(config, torch.cat(tuple(batches)), random)
    with accelerator.autocast():
        if discriminator.shares_statistics:
            return [discriminator(part, labels) for part in torch.split(seen, len(labels))]
        together = discriminator(seen, labels.repeat(len(batches)))
    return [Verdict(*parts) for parts in zip(*(torch.split(tensor, len(labels)) for tensor in together), strict=True)]


def apply(loss: Tensor, network: nn.Module, optimizer: Optimizer, accelerator: Accelerator) -> None:
    """One step of ``optimizer`` on ``network`` by the gradients of ``loss``, the mean over all processes.

    The processes share gradients here and not through a wrapper, since each network runs in the other's step too.
    """
    accelerator.backward(loss)
    average_gradients(network, accelerator)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def alter(config: Config, images: Tensor, random: torch.Generator) -> Tensor:
    """The changes that the discriminator sees on real and generated images alike (Zhao et al. 2020, 2006.10738)."""
    if config.translate:
        images = translate(images, config.translate, random)
    if config.cut_out:
        images = cut_out(images, config.cut_out, random)
    return images.contiguous(memory_format=torch.channels_last)


def evaluate(
    config: Config, state: State, data: ImageData, real: Reading, accelerator: Accelerator
) -> dict[str, float]:
    """What the judge says of images from the averaged weights, beside validation images of the same labels."""
    network = state.average.module
    settle_statistics(network, data.train.labels, config.seed, accelerator.device)
    labels = data.validation.labels[:WATCHED_IMAGES]
    images = generate(network, draw_noise(config.seed, len(labels), config.latents), labels, accelerator.device)
    return watch(real, labels, read(state.judge, images), labels)


def keep_best(state: State, watched: dict[str, float]) -> None:
    """Remember the averaged weights where no epoch before was as near to the validation images."""
    past = [record["validation_frechet_distance"] for record in state.history]
    if watched["validation_frechet_distance"] < min(past, default=math.inf):
        state.best.load_state_dict(state.average.module.state_dict())


def draw_samples(config: Config, state: State, classes: int, accelerator: Accelerator) -> Images:
    """A row of images of each class from the same noise in every epoch, as one picture."""
    rows = min(classes, MAX_SAMPLE_ROWS)
    labels: Labels = np.repeat(np.arange(rows), SAMPLE_COLUMNS)
    z = draw_noise(config.seed, len(labels), config.latents)
    return arrange(generate(state.average.module, z, labels, accelerator.device), SAMPLE_COLUMNS)


def describe_epoch(record: dict[str, float]) -> str:
    """What the line of an epoch says."""
    return (
        f"losses {record['discriminator_loss']:.3f} and {record['generator_loss']:.3f}"
        f"  Fréchet distance {record['validation_frechet_distance']:.3f}"
        f"  recognised {record['validation_accuracy']:.2%}  diversity {record['validation_diversity']:.1%}"
    )


def save(state: State, config: Config, path: Path) -> None:
    """Write the state with the configuration that it belongs to."""
    facts = {"config": asdict(config), "epoch": state.epoch, "seconds": state.seconds, "history": state.history}
    save_checkpoint(path, state.modules(), state.optimizers(), facts)


def restore(state: State, config: Config, path: Path) -> None:
    """Go on where a checkpoint of the same configuration stands.

    Raises:
        SettingError: there is none, or its configuration is another.
    """
    facts = load_facts_of(path, config)
    load_checkpoint(path, state.modules(), state.optimizers())
    state.judge.eval()
    state.epoch, state.seconds, state.history = facts["epoch"], facts["seconds"], facts["history"]
