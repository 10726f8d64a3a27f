"""MultiDiffusion: one sample longer or larger than the network reaches, solved in windows that overlap.

At every evaluation the network runs on each window and the velocities of a position that several windows cover are
averaged, with weights that fall off towards a window's ends. For a solver this is the same as averaging the updated
samples, so the windows agree with each other while the sample forms; nothing is blended afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def window_starts(size: int, window: int, overlap: int) -> list[int]:
    """First positions of windows that cover 0..size; neighbours share `overlap` positions, at the ends maybe more.

    Raises ValueError unless 0 <= overlap < window.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"windows of {window} cannot overlap by {overlap}: give 0 <= overlap < window")
    if size <= window:
        return [0]
    return [*range(0, size - window, window - overlap), size - window]


def taper(window: int, overlap: int) -> Tensor:
    """Weights of a window's positions, (window,): a linear ramp over `overlap` at both ends, 1 between, never 0."""
    distance = torch.arange(1, window + 1, dtype=torch.float64)
    return (torch.minimum(distance, distance.flip(0)) / (overlap + 1)).clamp(max=1.0)


def even(window: int, overlap: int) -> Tensor:
    """Weights of a window's positions, (window,), all 1: a plain average, which lets the borders be felt."""
    return torch.ones(window, dtype=torch.float64)


def multidiffusion(
    velocity: Callable[..., Tensor],
    window: int,
    overlap: int,
    axis: int = 2,
    weights: Callable[[int, int], Tensor] = taper,
) -> Callable[..., Tensor]:
    """A velocity for samples of any length along `axis`, from one for at most `window` positions.

    Args:
        velocity: called as velocity(x, t, *args) with a window of x; its result may have other channels than x
            (a condition beside the sample), and must have x's size along `axis`.
        window, overlap: in positions of x along `axis`.
        weights: of a window's positions, from (window, overlap): `taper`, with which half a window of overlap makes
            triangles, or `even`.

    Returns:
        velocity(x, t, *args). A sample of at most `window` positions is one plain call. For windows in two
        directions apply it twice.
    """
    window_starts(window, window, overlap)

    def whole(x: Tensor, t: Tensor, *args: Any) -> Tensor:
        size = x.shape[axis]
        if size <= window:
            return velocity(x, t, *args)
        total: Tensor | None = None
        weight = x.new_zeros(size)
        ramp = weights(window, overlap).to(x)
        shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
        for start in window_starts(size, window, overlap):
            part = velocity(x.narrow(axis, start, window), t, *args)
            if total is None:
                total = part.new_zeros(
                    [size if n == -1 else have for n, have in zip(shape, part.shape, strict=True)]
                )
            total.narrow(axis, start, window).add_(part * ramp.view(shape))
            weight[start : start + window] += ramp
        assert total is not None
        return total / weight.view(shape)

    return whole
