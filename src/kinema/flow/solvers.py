"""Solvers of dx/dt = velocity(x, t) along given times: flat functions, fixed steps, t=0 noise to t=1 data.

Each takes `velocity(x, t)` with x (B, ...) and t (B,), the state x at times[0], and times (steps + 1,); it
returns the state at times[-1]. `on_step(done, x)`, where given, is called after each step with the number
of steps done and the state. Times are read once into floats, so nothing waits on the device inside the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, Tensor], None]


def _batch_time(x: Tensor, t: float) -> Tensor:
    """One time for the whole batch: (B,), float32 or better."""
    return torch.full((len(x),), t, device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))


def euler(velocity: Velocity, x: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """First order, one call a step: x + dt v(x, t). Movie Gen's choice."""
    stops = times.tolist()
    for i, (start, end) in enumerate(pairwise(stops)):
        x = x + (end - start) * velocity(x, _batch_time(x, start))
        if on_step is not None:
            on_step(i + 1, x)
    return x


def midpoint(velocity: Velocity, x: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Second order, two calls a step: the velocity half a step ahead."""
    stops = times.tolist()
    for i, (start, end) in enumerate(pairwise(stops)):
        dt = end - start
        halfway = x + dt / 2 * velocity(x, _batch_time(x, start))
        x = x + dt * velocity(halfway, _batch_time(x, start + dt / 2))
        if on_step is not None:
            on_step(i + 1, x)
    return x


def heun(velocity: Velocity, x: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Second order, two calls a step: the mean of the velocities at the start and at Euler's end."""
    stops = times.tolist()
    for i, (start, end) in enumerate(pairwise(stops)):
        dt = end - start
        here = velocity(x, _batch_time(x, start))
        there = velocity(x + dt * here, _batch_time(x, end))
        x = x + dt / 2 * (here + there)
        if on_step is not None:
            on_step(i + 1, x)
    return x
