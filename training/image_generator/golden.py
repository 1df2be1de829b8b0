"""Raw requests with the images that training computes for them, as the service must answer them."""

from collections.abc import Sequence

import numpy as np

from models.manifest import Golden, GoldenExample, GoldenRequest
from training.image_generator.sampling import Sampler
from training.noise import draw_noise

# Of pixels from 0 to 1: two and a half of 255 levels, which is what providers differ by.
TOLERANCE = 0.01
DECIMALS = 4


def golden_examples(sampler: Sampler, labels: Sequence[str]) -> Golden:
    """Make the golden examples of an image generator from its exported graph: labels, several images, truncation."""
    requests: tuple[dict[str, int | str | float], ...] = (
        {"count": 1, "label": labels[0], "seed": 7},
        {"count": 3, "label": labels[-1], "seed": 7},
        {"count": 1, "label": labels[len(labels) // 2], "seed": 2**32, "truncation": 0.5},
    )
    return Golden(tolerance=TOLERANCE, examples=tuple(_example(sampler, labels, request) for request in requests))


def _example(sampler: Sampler, labels: Sequence[str], request: dict[str, int | str | float]) -> GoldenExample:
    """The images of a request have seeds that follow each other, so that each can be had alone."""
    seeds = [int(request["seed"]) + place for place in range(int(request["count"]))]
    z = np.concatenate([draw_noise(seed, 1, sampler.latents) for seed in seeds])
    label = str(request["label"])
    places = np.full(len(seeds), list(labels).index(label), np.int64)
    images = sampler.run(z, places, float(request.get("truncation", 1.0)))
    return GoldenExample(
        request=GoldenRequest.from_json(request),
        predictions=tuple(
            {"seed": seed, "label": label, "pixels": np.round(image / 255, DECIMALS).tolist()}
            for seed, image in zip(seeds, images, strict=True)
        ),
    )
