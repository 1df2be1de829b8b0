"""What a training shows while it runs: a progress bar with the time left, a line for each epoch, TensorBoard curves."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_FOLDER = "tensorboard"


class Progress:
    """Shows losses, accuracies and time left. In a process that is not the main one it is silent."""

    def __init__(self, epochs: int, output: Path, history: list[dict[str, float]], visible: bool) -> None:
        self.epochs = epochs
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
        text = f"epoch {epoch + 1}/{self.epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}"
        self.bar.update(self.task, completed=epoch + step / steps, description=text)

    def epoch(self, record: dict[str, float]) -> None:
        """Print the line of an epoch and add it to the curves."""
        epoch = int(record["epoch"])
        done = epoch - self.epochs_before
        left = (time.monotonic() - self.began) / done * (self.epochs - epoch)
        self.console.print(
            f"epoch {epoch:>3}/{self.epochs}"
            f"  train loss {record['train_loss']:.4f}  accuracy {record['train_accuracy']:.2%}"
            f"  validation loss {record['validation_loss']:.4f}  accuracy {record['validation_accuracy']:.2%}"
            f"  {record['seconds']:.0f} s  {left:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
        if self.writer:
            for name, value in record.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, epoch)
