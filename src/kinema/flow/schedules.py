"""The times at which a solver stops: (steps + 1,) float64, rising from 0 (noise) to 1 (data)."""

from __future__ import annotations

import torch
from torch import Tensor


def linear(steps: int) -> Tensor:
    """Equal steps."""
    if steps < 1:
        raise ValueError(f"a schedule needs at least one step, got {steps}")
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def linear_quadratic(steps: int, emulate: int = 250) -> Tensor:
    """The first steps of a fine linear schedule, then quadratically growing ones (Movie Gen).

    Half of the steps are the first steps of a linear schedule with `emulate` steps; the rest cover what is
    left, the slope staying continuous where the halves meet.

    Args:
        steps: steps taken (50 in the paper).
        emulate: steps of the linear schedule that the first half follows (250 or 1000 in the paper).
    """
    if emulate < steps:
        raise ValueError(
            f"a linear-quadratic schedule of {steps} steps emulates at least as many, got emulate={emulate}"
        )
    first = steps // 2
    if first == 0:
        return linear(steps)
    rest = steps - first
    threshold = first / emulate
    lead = first - threshold * steps
    a = lead / (first * rest**2)
    b = threshold / first - 2 * lead / rest**2
    c = a * first**2
    index = torch.arange(steps + 1, dtype=torch.float64)
    times = torch.where(index < first, index * threshold / first, a * index**2 + b * index + c)
    times[-1] = 1.0
    return times


def shift(times: Tensor, factor: float) -> Tensor:
    """Move times towards noise for factors above 1: t / (t + factor (1 - t)).

    This is the resolution shift of SD3 and Wan, sigma -> factor sigma / (1 + (factor - 1) sigma) with
    sigma = 1 - t.
    """
    if factor <= 0:
        raise ValueError(f"the shift of a schedule is a positive factor, got {factor}")
    return times / (times + factor * (1 - times))
