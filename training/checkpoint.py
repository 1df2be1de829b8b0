"""The state of a training between two epochs, as one safetensors file: tensors, and facts as JSON in its header."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from training.errors import SettingError

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: list[Optimizer], facts: Mapping[str, Any]
) -> None:
    """Write the state of ``modules`` and ``optimizers`` with ``facts``, whole or not at all.

    Args:
        path: replaced by one rename.
        modules: by name.
        optimizers: in an order that stays the same.
        facts: what JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, optimizer in enumerate(optimizers):
        tensors |= {f"optimizer{index}/{key}": value for key, value in _optimizer_tensors(optimizer)}
    partial = path.with_suffix(".partial")
    save_file(
        {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()},
        partial,
        {"facts": json.dumps(facts)},
    )
    partial.replace(path)


def load_facts(path: Path) -> dict[str, Any]:
    """The facts that :func:`save_checkpoint` wrote.

    Raises:
        SettingError: the file is missing or damaged.
    """
    with _refusals(path), safe_open(path, "pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
        return facts


def load_facts_of(path: Path, config: Any) -> dict[str, Any]:
    """The facts of a checkpoint that was made with ``config``, the Config of its kind: they hold it as ``config``.

    Raises:
        SettingError: the file is missing or damaged, or was made with other settings; it names them.
    """
    facts = load_facts(path)
    changed = [name for name, value in asdict(config).items() if facts["config"].get(name) != value]
    if changed:
        raise SettingError(f"resume: '{path}' was made with other settings: {', '.join(changed)}")
    return facts


def load_checkpoint(path: Path, modules: Mapping[str, nn.Module], optimizers: list[Optimizer]) -> None:
    """Bring ``modules`` and ``optimizers`` to the state that :func:`save_checkpoint` wrote.

    Raises:
        SettingError: the file is missing, damaged, or of another network.
    """
    with _refusals(path):
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        for name, module in modules.items():
            module.load_state_dict(_section(tensors, name))
    for index, optimizer in enumerate(optimizers):
        _load_optimizer(optimizer, _section(tensors, f"optimizer{index}"))


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise SettingError(f"resume: '{path}' is no checkpoint of this training: {error}") from error


def _section(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimizer_tensors(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of an optimiser's state, as ``<parameter's number>/<name>``; its settings come from the run."""
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                yield f"{number}/{name}", value


def _load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
