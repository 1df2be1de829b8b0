"""Settings of trainings that take a second: pictures of eight by eight pixels in three colours."""

from pathlib import Path

import torch
from accelerate import Accelerator

from training.checkpoint import CHECKPOINT_FILE
from training.command import Places, build_config
from training.image_generator.data import load_data
from training.image_generator.train import RECIPES, Config, State, restore, start, teach_judge, train

SETTINGS = {
    "epochs": 2,
    "batch_size": 16,
    "width": 4,
    "latents": 8,
    "judge_epochs": 4,
    "score_epochs": 4,
    "validation_fraction": 0.2,
    "precision": "fp32",
}


def config(folder: Path, architecture: str = "sngan", **given: object) -> Config:
    return build_config(Config, RECIPES, {"architecture": architecture, "data": str(folder), **SETTINGS, **given})


def train_alone(settings: Config, places: Places, *, resume: bool = False) -> State:
    """Train without publishing."""
    accelerator = Accelerator()
    data = load_data(settings, places.cache)
    state = start(settings, data, accelerator)
    if resume:
        restore(state, settings, places.output / CHECKPOINT_FILE)
    else:
        teach_judge(settings, state, data, accelerator)
    train(settings, state, data, accelerator, places.output)
    return state


def weights(state: State) -> list[torch.Tensor]:
    return [value for value in state.average.state_dict().values() if value.is_floating_point()]
