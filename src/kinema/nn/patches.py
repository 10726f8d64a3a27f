"""Signals, images and clips into tokens and back, without parameters.

A token holds its patch channel by channel, row-major inside each channel: the order in which a
convolution's weight (out, C, *patch) flattens, so a linear layer on tokens is a convolution with stride =
kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def patchify(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut (B, C, *space), 1 to 3 axes of space, into tokens (B, N, C*prod(patch)), row-major in space."""
    axes = len(patch)
    if x.ndim != axes + 2 or axes not in (1, 2, 3):
        raise ValueError(
            f"a patch of {axes} axes needs one of {axes + 2} axes (batch, channels, space), got {x.ndim}"
        )
    if any(size % step for size, step in zip(x.shape[2:], patch, strict=True)):
        raise ValueError(
            f"a patch of {tuple(patch)} does not divide {tuple(x.shape[2:])}: pad or crop the input"
        )
    split = [n for size, step in zip(x.shape[2:], patch, strict=True) for n in (size // step, step)]
    cells = x.reshape(*x.shape[:2], *split)  # (B, C, g1, p1, g2, p2, ...)
    grid_axes, patch_axes = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    tokens = cells.permute(0, *grid_axes, 1, *patch_axes)  # (B, g1, g2, ..., C, p1, p2, ...)
    return tokens.flatten(1 + axes).flatten(1, axes)


def unpatchify(tokens: Tensor, grid: Sequence[int], patch: Sequence[int], channels: int) -> Tensor:
    """Put tokens (B, N, channels*prod(patch)) back: (B, channels, *[grid*patch])."""
    axes = len(patch)
    wanted = (math.prod(grid), channels * math.prod(patch))
    if tuple(tokens.shape[1:]) != wanted or len(grid) != axes:
        raise ValueError(
            f"a grid of {tuple(grid)} with {channels} channels has tokens of {wanted}, "
            f"got {tuple(tokens.shape[1:])}"
        )
    cells = tokens.reshape(len(tokens), *grid, channels, *patch)
    pairs = [axis for i in range(axes) for axis in (1 + i, 2 + axes + i)]
    space = [size * step for size, step in zip(grid, patch, strict=True)]
    return cells.permute(0, 1 + axes, *pairs).reshape(len(tokens), channels, *space)
