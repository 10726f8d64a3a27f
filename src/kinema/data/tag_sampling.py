"""How often each image is shown so that rare tags are not drowned: a law over tags, carried over to their images.

A tag of f images wants to be seen f^(1-power) times as often: 0 is the data as it is, 1/2 the square root that SWAG and
MAWS train with (2201.08371), 1 every tag alike. An image follows its rarest tag, and all its tags stay its targets.
"""

# I images, V tags

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kinema.errors import UserError

SQUARE_ROOT = 0.5


def repeats(
    images: Sequence[Sequence[int]],
    counts: Sequence[int],
    power: float = SQUARE_ROOT,
    total: float | None = None,
    most: float | None = None,
) -> Tensor:
    """How often each image is to be shown in an epoch, on average: float64 (I,); 0 for one without tags.

    Args:
        counts: images that each tag has (V).
        total: what the epoch adds up to; None for the number of images that have tags.
        most: repeats of one image at most; what is cut off goes to the others.

    Raises:
        UserError: no image has a tag, or `most` leaves no room for `total`.
    """
    if not 0 <= power <= 1:
        raise UserError(f"power={power} must be from 0 (as it is) to 1 (all tags alike)")
    rare = torch.tensor(counts, dtype=torch.float64).clamp(min=1) ** -power
    wish = torch.tensor(
        [max((float(rare[tag]) for tag in tags), default=0.0) for tags in images], dtype=torch.float64
    )
    usable = int((wish > 0).sum())
    total = float(usable) if total is None else total
    if not usable or total <= 0:
        raise UserError("no image has a tag of the vocabulary: nothing can be sampled")
    if most is None:
        return wish * (total / wish.sum())
    if most * usable < total:
        raise UserError(f"{usable} images shown at most {most} times do not make {total:g}: raise `most`")
    return _capped(wish, total, most)


def _capped(wish: Tensor, total: float, most: float) -> Tensor:
    """Shares of `total` in proportion to `wish`, none above `most`."""
    full = torch.zeros_like(wish, dtype=torch.bool)
    while True:
        free = torch.where(full, 0.0, wish)
        left = total - most * int(full.sum())
        scaled = free * (left / free.sum()) if left > 0 else free * 0
        over = scaled > most
        if not bool(over.any()):
            return torch.where(full, most, scaled)
        full |= over


def epoch_order(expected: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of the images of one epoch, shuffled: each as often as expected, the fraction by chance; int64."""
    chance = torch.rand(len(expected), generator=generator, dtype=torch.float64)
    shown = (expected + chance).floor().long()
    order = torch.repeat_interleave(torch.arange(len(expected)), shown)
    return order[torch.randperm(len(order), generator=generator)]


def tag_prior(images: Sequence[Sequence[int]], expected: Tensor, size: int, smoothing: float = 1.0) -> Tensor:
    """How probable each tag is as a target while training so: (size,), adds up to 1.

    smoothing: occurrences that every tag is given, so that none is impossible.
    """
    seen = torch.full((size,), smoothing, dtype=torch.float64)
    for tags, times in zip(images, expected.tolist(), strict=True):
        for tag in set(tags):
            seen[tag] += times / len(set(tags))
    return seen / seen.sum()
