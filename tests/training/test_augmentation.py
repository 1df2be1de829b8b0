import pytest
import torch
from torch import Tensor

from training.augmentation import alternate_flip, cut_out, rotate, translate


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def images() -> Tensor:
    """Twenty colour pictures, no two places alike."""
    return torch.randn((20, 3, 8, 8), generator=generator())


def test_an_image_is_seen_both_ways_in_any_two_epochs(images: Tensor) -> None:
    coins = torch.arange(20) % 2
    first, second, third = (alternate_flip(images, coins, epoch) for epoch in range(3))
    assert torch.equal(first[0], images[0])
    assert torch.equal(first[1], images[1].flip(-1))
    assert torch.equal(second, first.flip(-1))
    assert torch.equal(third, first)


def test_a_shifted_image_is_a_window_of_its_reflection(images: Tensor) -> None:
    shifted = translate(images, 2, generator())
    padded = torch.nn.functional.pad(images, (2,) * 4, mode="reflect")
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # (20, 3, 5, 5, 8, 8)
    places = [(row, column) for row in range(5) for column in range(5)]
    found = [
        [place for place in places if torch.equal(window[:, *place], image)]
        for window, image in zip(windows, shifted, strict=True)
    ]
    assert all(len(matches) == 1 for matches in found)
    assert len({match for matches in found for match in matches}) > 5


def test_a_square_of_each_image_is_blank_and_the_rest_as_it_was(images: Tensor) -> None:
    cut = cut_out(images, 3, generator())
    blank = cut == 0
    assert torch.equal(blank.sum((2, 3)), torch.full((20, 3), 9))
    assert torch.equal(blank.any(2).sum(2), torch.full((20, 3), 3))
    assert torch.equal(cut[~blank], images[~blank])
    assert len({tuple(one.nonzero()[0].tolist()) for one in blank}) > 5


def test_an_image_turns_by_no_more_than_it_may(images: Tensor) -> None:
    smooth = torch.nn.functional.interpolate(images[:, :, :3, :3], (24, 24), mode="bicubic")
    little, much = (rotate(smooth, degrees, generator()) for degrees in (2.0, 60.0))
    assert torch.allclose(rotate(smooth, 0.0, generator()), smooth, atol=1e-5)
    assert (little - smooth).abs().mean() < (much - smooth).abs().mean() / 5
