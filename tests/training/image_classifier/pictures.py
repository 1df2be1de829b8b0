"""Folders of small pictures whose classes a network can tell apart."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def draw(colour: tuple[int, int, int], size: tuple[int, int], generator: np.random.Generator) -> Image.Image:
    """A picture of one colour with noise, (width, height) as ``size``."""
    noise = generator.normal(0, 25, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8))


def write_folder(root: Path, per_class: int = 30, size: tuple[int, int] = (32, 32)) -> Path:
    """``root/<colour>/<n>.png`` for each colour; the folder."""
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            draw(colour, size, generator).save(root / name / f"{number}.png")
    return root
