"""What a training shows while it runs: a progress bar with the time left, a line for each epoch, TensorBoard curves."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_FOLDER = "tensorboard"


def describe_classification(record: dict[str, float]) -> str:
    """What the line of an epoch says where losses and accuracies are followed."""
    return (
        f"train loss {record['train_loss']:.4f}  accuracy {record['train_accuracy']:.2%}"
        f"  validation loss {record['validation_loss']:.4f}  accuracy {record['validation_accuracy']:.2%}"
    )


class Progress:
    """Shows what is followed, and the time left. In a process that is not the main one it is silent.

    Args:
        epochs: how many there are in all.
        output: the folder of this run, for curves and pictures.
        history: the record of each epoch before.
        visible: whether this is the main process.
        describe: says what of a record stands in the line of an epoch.
    """

    def __init__(
        self,
        epochs: int,
        output: Path,
        history: list[dict[str, float]],
        visible: bool,
        describe: Callable[[dict[str, float]], str] = describe_classification,
    ) -> None:
        self.epochs = epochs
        self.output = output
        self.describe = describe
        self.console = Console(quiet=not visible)
        self.writer = SummaryWriter(str(output / TENSORBOARD_FOLDER), purge_step=len(history) + 1) if visible else None
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=epochs, completed=len(history))
        self.began = time.monotonic()
        self.epochs_before = len(history)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self.writer:
            self.writer.close()

    def step(self, epoch: int, step: int, steps: int, loss: float, accuracy: float) -> None:
        """Show how far an epoch is, with its loss and accuracy so far."""
        self.advance(epoch, step, steps, f"loss {loss:.4f}  accuracy {accuracy:.2%}")

    def advance(self, epoch: int, step: int, steps: int, text: str) -> None:
        """Show how far an epoch is, with what ``text`` says of it."""
        description = f"epoch {epoch + 1}/{self.epochs}  {text}"
        self.bar.update(self.task, completed=epoch + step / steps, description=description)

    def epoch(self, record: dict[str, float]) -> None:
        """Print the line of an epoch and add it to the curves."""
        epoch = int(record["epoch"])
        done = epoch - self.epochs_before
        left = (time.monotonic() - self.began) / done * (self.epochs - epoch)
        self.console.print(
            f"epoch {epoch:>3}/{self.epochs}  {self.describe(record)}  {record['seconds']:.0f} s  {left:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
        if self.writer:
            for name, value in record.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, epoch)

    def picture(self, name: str, epoch: int, pixels: NDArray[np.uint8]) -> None:
        """Keep a picture (height, width, channels) of an epoch, as a file and beside the curves."""
        if self.writer:
            folder = self.output / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels).save(folder / f"{epoch:04}.png")
            self.writer.add_image(name, pixels, epoch, dataformats="HWC")
