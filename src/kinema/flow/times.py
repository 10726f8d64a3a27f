"""Laws from which training draws the flow time. Each gives (n,) float32 in [0, 1] on the generator's device.

Time: t=0 noise, t=1 data. Papers that count the other way (SD3, Flux) have 1 - t; where a law is not
symmetric, a parameter that leans towards noise there leans towards data here with the opposite sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

TimeLaw = Callable[[int, Generator], Tensor]


def uniform(n: int, generator: Generator) -> Tensor:
    """Evenly spread over [0, 1)."""
    return torch.rand(n, generator=generator, device=generator.device)


def stratified(n: int, generator: Generator) -> Tensor:
    """Evenly spread, one draw in each of n equal intervals, shuffled: steadier between batches."""
    offsets = torch.rand(n, generator=generator, device=generator.device)
    order = torch.randperm(n, generator=generator, device=generator.device)
    return (order + offsets).div(n).clamp(max=1.0)


def logit_normal(n: int, generator: Generator, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """sigmoid(N(mean, std)): most draws in the middle. Movie Gen trains with (0, 1)."""
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator, device=generator.device))


def mode(n: int, generator: Generator, scale: float = 1.29) -> Tensor:
    """SD3's law with heavy tails: scales above 0 (to 1.75) prefer the middle, below (to -1) the ends."""
    if not -1.0 <= scale <= 2.0 / (math.pi - 2.0):
        raise ValueError(
            f"the mode law is defined for scales from -1 to {2 / (math.pi - 2):.3f}, got {scale}"
        )
    u = uniform(n, generator)
    return (u + scale * (torch.cos(math.pi / 2 * u).square() - 1 + u)).clamp(0.0, 1.0)


def cosmap(n: int, generator: Generator) -> Tensor:
    """SD3's map onto the cosine schedule's signal-to-noise: density 2 / (pi (1 - 2t + 2t^2))."""
    u = uniform(n, generator)
    return 1 / (1 + torch.tan(math.pi / 2 * (1 - u)))


def beta(n: int, generator: Generator, alpha: float = 1.0, beta: float = 1.5) -> Tensor:
    """Beta(alpha, beta), density as t^(alpha-1) (1-t)^(beta-1); the default leans towards noise."""
    shapes = (
        torch.tensor([alpha, beta], dtype=torch.float64, device=generator.device).expand(n, 2).contiguous()
    )
    gammas = torch._standard_gamma(shapes, generator)
    return (gammas[:, 0] / gammas.sum(1)).float()
