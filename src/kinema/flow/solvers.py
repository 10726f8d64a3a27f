"""Solvers of dx/dt = velocity(x, t) along given times: flat functions, fixed steps, t=0 noise to t=1 data.

Each takes `velocity(x, t)` with x (B, ...) and t (B,), the state x at times[0], and times (steps + 1,); it
returns the state at times[-1]. `on_step(done, x)`, where given, is called after each step with the number
of steps done and the state. Times are read once into floats, so nothing waits on the device inside the loop.
"""

from __future__ import annotations

import math
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


def unipc(velocity: Velocity, x: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Second order, one call a step: UniPC-2 (2302.04867, B2(h), data prediction). The default of Wan 2.1.

    Each step corrects the state by the velocity found at its end, then predicts on from there; the first and the last
    step are of first order. Noise has no finite log-SNR, so a start at t=0 counts as 1e-6.
    """
    stops = [max(stop, 1e-6) for stop in times.tolist()]
    log_snr = [math.log(t) - math.log1p(-t) if t < 1 else math.inf for t in stops]
    found: list[Tensor] = []  # estimates of the data, the last two
    last, order = x, 1
    for i in range(len(stops) - 1):
        data = x + (1 - stops[i]) * velocity(x, _batch_time(x, stops[i]))
        if i > 0:
            x = _unipc_step(last, stops, log_snr, i - 1, order, found, data)
        found = [*found[-1:], data]
        order = min(2, i + 1, len(stops) - 1 - i)
        last, x = x, _unipc_step(x, stops, log_snr, i, order, found)
        if on_step is not None:
            on_step(i + 1, x)
    return x


def _unipc_step(
    x: Tensor,
    stops: list[float],
    log_snr: list[float],
    i: int,
    order: int,
    found: list[Tensor],
    ahead: Tensor | None = None,
) -> Tensor:
    """From stops[i] to stops[i + 1] by the data found so far; with what was found `ahead` too, the corrector."""
    here, there, h = stops[i], stops[i + 1], log_snr[i + 1] - log_snr[i]
    decay = math.expm1(-h)
    moved = (1 - there) / (1 - here) * x - there * decay * found[-1]
    if ahead is None:
        if order == 1:
            return moved
        rest = 0.5 * h / (log_snr[i - 1] - log_snr[i]) * (found[-2] - found[-1])
    elif order == 1:
        rest = 0.5 * (ahead - found[-1])
    else:
        r = (log_snr[i - 1] - log_snr[i]) / h
        first = decay / -h - 1
        b1, b2 = first / decay, 2 * (first / -h - 0.5) / decay
        back = (b1 - b2) / (1 - r)
        rest = back / r * (found[-2] - found[-1]) + (b1 - back) * (ahead - found[-1])
    return moved - there * decay * rest
