"""Raw requests with the profiles that training computes for them, as the service must answer them."""

from pathlib import Path

import numpy as np

from models.columns import TablePreprocessing
from models.manifest import Golden, GoldenExample, GoldenRequest
from training.noise import draw_noise
from training.profile_generator.sampling import Sampler, draw_targets, write_profiles

# Profiles are rounded to the columns' decimals by the graph, in double precision: there is nothing left to differ.
TOLERANCE = 1e-6


def golden_examples(path: Path, preprocessing: TablePreprocessing) -> Golden:
    """Make the golden examples of a profile generator from its exported graph: any target, and each of the two."""
    no, yes = preprocessing.target.categories
    requests: tuple[dict[str, int | str], ...] = (
        {"count": 3, "seed": 7},
        {"count": 1, "seed": 7},
        {"count": 2, "churn": yes, "seed": 1},
        {"count": 2, "churn": no, "seed": 1},
        {"count": 5, "seed": 2**32},
    )
    sampler = Sampler(path, preprocessing)
    return Golden(tolerance=TOLERANCE, examples=tuple(_example(sampler, request) for request in requests))


def _example(sampler: Sampler, request: dict[str, int | str]) -> GoldenExample:
    facts = sampler.preprocessing
    count, seed = int(request["count"]), int(request["seed"])
    if "churn" in request:
        targets = np.full(count, facts.target.categories.index(str(request["churn"])), np.int64)
    else:
        targets = draw_targets(seed, count, facts.target_shares[1])
    numbers, texts = sampler.run(draw_noise(seed, count, sampler.noise), targets)
    return GoldenExample(
        request=GoldenRequest.from_json(request),
        predictions=tuple(write_profiles(facts, numbers, texts, targets)),
    )
