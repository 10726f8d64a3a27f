"""The linear-quadratic schedule against equal steps where the velocity is known exactly: no training, no network.

    python experiments/movie_gen_video/schedule_exact.py

A mixture of 16 Gaussians (std 0.3 about means drawn from N(0, I)) in 2 to 8192 dimensions has its velocity in closed
form. How far from the end of 1000 Euler steps do 10, 20 and 50 steps end?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kinema.eval.reports import summary
from kinema.eval.runs import Run, arguments, run_all
from kinema.flow.schedules import linear
from kinema.flow.solvers import euler
from kinema.train import make_generator

from reporting import finish, table
from sampling import SCHEDULES

NAME = "schedule_exact"
MODES, STD = 16, 0.3
SAMPLES = {2: 4096, 128: 1024, 1024: 512, 8192: 128}  # dimension -> points
STEPS, REFERENCE = (10, 20, 50), 1000


def mixture_velocity(means: Tensor, std: float) -> Callable[[Tensor, Tensor], Tensor]:
    """E[data - noise | x_t] on the straight path to an even mixture of N(means_k, std^2 I); means (K, D)."""

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        t = float(time[0])
        variance = t * t * std * std + (1 - t) ** 2
        squared = x.square().sum(1, keepdim=True) - 2 * t * x @ means.T + t * t * means.square().sum(1)
        weight = (-squared / (2 * variance)).softmax(1)  # (B, K)
        slope = (t * std * std - (1 - t)) / variance
        return slope * x + (1 - slope * t) * (weight @ means)

    return velocity


def mixture_errors(dim: int, samples: int, reference: int, seed: int) -> dict[str, float]:
    """Root mean square distance to the end of `reference` Euler steps, a coordinate."""
    generator = make_generator(seed, "mixture", dim)
    means = torch.randn(MODES, dim, generator=generator, dtype=torch.float64).float()
    noise = torch.randn(samples, dim, generator=generator)
    velocity = mixture_velocity(means, STD)
    end = euler(velocity, noise, linear(reference))
    return {
        f"{name}, {n} steps": float((euler(velocity, noise, times(n)) - end).square().mean().sqrt())
        for name, times in SCHEDULES.items()
        for n in STEPS
    }


def draw(result: Mapping[str, Any], dims: Mapping[int, int]) -> Any:
    """One panel a count of steps: error over dimension, a line a schedule."""

    def fill(figure: Any) -> None:
        for axis, n in zip(figure.subplots(1, len(STEPS), sharey=True), STEPS, strict=True):
            for name in SCHEDULES:
                cells = [result["arms"][f"D={d}"][f"{name}, {n} steps"] for d in dims]
                mean, std = [c["mean"] for c in cells], [c["std"] for c in cells]
                axis.errorbar(list(dims), mean, std, marker=".", capsize=3, label=name)
            axis.set(xscale="log", yscale="log", xlabel="dimension", title=f"{n} steps")
            axis.legend(fontsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        figure.supylabel("RMS distance to the end of 1000 steps", fontsize=9)

    return fill


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    dims, reference = ({2: 64, 16: 32, 128: 16}, 100) if given.quick else (SAMPLES, REFERENCE)
    settings = {"modes": MODES, "std": STD, "reference_steps": reference, "emulate": 250}
    runs, spent = run_all(
        NAME,
        given,
        [
            Run(
                f"D={d}",
                seed,
                settings | {"samples": n},
                lambda d=d, n=n, seed=seed: mixture_errors(d, n, reference, seed),
            )
            for seed in range(given.seeds)
            for d, n in dims.items()
        ],
    )
    result = {
        "compute": "torch.float32",
        "settings": settings | {"samples": dims},
        "arms": summary(runs),
    }
    print(table(result["arms"], list(runs["D=2"][0])))
    finish(NAME, given, spent, result, draw(result, dims))


if __name__ == "__main__":
    main()
