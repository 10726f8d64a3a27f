"""The linear-quadratic schedule against equal steps: where the velocity is known exactly, and on nano.

    python experiments/movie_gen_video/schedule.py

(a) A mixture of 16 Gaussians (std 0.3 about means drawn from N(0, I)) in 2 to 8192 dimensions has its velocity in
closed form. How far from the end of 1000 Euler steps do few steps end? (b) Nano's clips of held-out captions, judged,
for 6 to 50 steps of both schedules from the same noise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))

import common
from common import FPS, GUIDANCE_SCALE, arguments, finish, kept, nano_parts, shares, spread

from kinema.eval.frechet import frechet_distance
from kinema.eval.movie_gen_video import held_out_scenes
from kinema.flow.guidance import guided
from kinema.flow.schedules import linear, linear_quadratic
from kinema.flow.solvers import euler
from kinema.systems.movie_gen.video.tags import tagged
from kinema.text.states import TextStates
from kinema.train import Precision, make_generator
from kinema.train.blocks import compile_blocks
from kinema.world.captions import canonical_caption
from kinema.world.judges.lessons import to_float
from kinema.world.judges.video import VideoJudge
from kinema.world.renderer import render

SCHEDULES: dict[str, Callable[[int], Tensor]] = {"uniform": linear, "linear-quadratic": linear_quadratic}
MODES, STD = 16, 0.3
SAMPLES = {2: 4096, 128: 1024, 1024: 256, 8192: 128}  # dimension -> points
FIGURES = (*common.SHOWN, "all four", "frechet")


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


def mixture_errors(
    dim: int, samples: int, steps: tuple[int, ...], reference: int, seed: int
) -> dict[str, float]:
    """Root mean square distance to the end of `reference` Euler steps, a coordinate."""
    generator = make_generator(seed, "mixture", dim)
    means = torch.randn(MODES, dim, generator=generator, dtype=torch.float64).float()
    noise = torch.randn(samples, dim, generator=generator)
    velocity = mixture_velocity(means, STD)
    end = euler(velocity, noise, linear(reference))
    return {
        f"{name}, {n} steps": float((euler(velocity, noise, times(n)) - end).square().mean().sqrt())
        for name, times in SCHEDULES.items()
        for n in steps
    }


class Nano:
    """The shipped model over held-out captions of a seed, and what true renders of the same scenes get."""

    def __init__(self, prompts: int, compiled: bool) -> None:
        self.parts, self.weights = nano_parts()
        self.prompts, self.judge, self.precision = prompts, VideoJudge.load(), Precision.choose("auto", "cpu")
        if compiled:
            compile_blocks(self.parts.transformer)

    @torch.inference_mode()
    def true_renders(self, seed: int) -> tuple[dict[str, float], Tensor]:
        """Figures of true renders, with the Frechet distance to as many others; features of the first (N, D)."""
        scenes = held_out_scenes("val", 2 * self.prompts, seed)
        readings, features = self.judge.study(to_float(render(scenes)))
        ours, others = features.split(self.prompts)
        row = shares([r.labels() for r in readings[: self.prompts]], scenes[: self.prompts])
        return row | {"frechet": frechet_distance(ours, others)}, ours

    @torch.inference_mode()
    def score(self, times: Tensor, seed: int, true_features: Tensor) -> dict[str, float]:
        """Figures of the clips that Euler makes along `times`; a seed's noise is the same for all of them."""
        parts, model, prompts = self.parts, self.parts.transformer, self.prompts
        scenes = held_out_scenes("val", prompts, seed)
        texts = [tagged(canonical_caption(s), FPS, s.camera) for s in scenes]
        states = parts.text.encode(texts + [""] * prompts).padded(parts.text.max_tokens)
        noise = torch.randn(
            prompts, *parts.codec.spec.latent_shape(16, 64, 64), generator=make_generator(seed, "noise")
        )
        labels, made = list[dict[str, str]](), []
        for rows in torch.arange(prompts).split(16):
            both = torch.cat([rows, rows + prompts])
            with self.precision.autocast():
                condition = model.prepare(TextStates(states.embeds[both], states.mask[both]))

            def network(x: Tensor, t: Tensor, condition: Any = condition) -> Tensor:
                with self.precision.autocast():
                    return model(x, t, condition)

            latent = euler(guided(network, GUIDANCE_SCALE), noise[rows], times)
            readings, features = self.judge.study(parts.codec.decode(latent, 16))
            labels += [r.labels() for r in readings]
            made.append(features)
        return shares(labels, scenes) | {"frechet": frechet_distance(torch.cat(made), true_features)}


def draw(result: dict[str, Any], dims: dict[int, int], few: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    """Left: error over dimension, one line for each count of steps. Middle, right: nano over steps."""

    def fill(figure: Any) -> None:
        axes = figure.subplots(1, 3)
        for colour, name in enumerate(SCHEDULES):
            for style, n in zip(("-", "--", ":"), few, strict=False):
                cells = [result["mixture"][f"D={d}"][f"{name}, {n} steps"]["mean"] for d in dims]
                axes[0].loglog(list(dims), cells, style, marker=".", color=f"C{colour}", label=f"{name}, {n}")
            for axis, figure_name in ((axes[1], "all four"), (axes[2], "frechet")):
                cells = [result["nano"][f"{name}, {n} steps"][figure_name] for n in steps]
                mean, std = [c["mean"] for c in cells], [c["std"] for c in cells]
                axis.errorbar(steps, mean, std, marker=".", capsize=3, color=f"C{colour}", label=name)
                axis.set(xscale="log", xlabel="steps", title=f"nano: {figure_name}")
                axis.set_xticks(steps, [str(n) for n in steps])
                axis.minorticks_off()
        for axis, name in ((axes[1], "all four"), (axes[2], "frechet")):
            axis.axhline(result["true_renders"][name]["mean"], ls=":", color="grey", label="true renders")
        axes[0].set(xlabel="dimension", title="exact velocity: error to 1000 steps")
        for axis in axes:
            axis.legend(fontsize=7)
            axis.spines[["top", "right"]].set_visible(False)

    return fill


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    dims, few, steps = SAMPLES, (10, 20, 50), (6, 12, 25, 50)
    prompts, reference = 32, 1000
    if given.quick:
        dims, few, steps, prompts, reference = {2: 64, 128: 32}, (10, 20), (2, 3), 4, 100
    nano = Nano(prompts, compiled=not given.quick)
    settings = {
        "mixture": {"modes": MODES, "std": STD, "samples": dims, "reference_steps": reference},
        "nano": {
            "prompts_a_seed": prompts,
            "guidance": GUIDANCE_SCALE,
            "emulate": 250,
            "weights": nano.weights,
        },
    }
    mixture, runs, ceiling, spent = dict[str, Any](), dict[str, Any](), list[dict[str, float]](), 0.0

    def record(seed: int, asked: Any, run: Callable[[], Any]) -> Any:
        nonlocal spent
        done = kept("schedule", given, seed, settings | {"run": asked}, run)
        spent += done["cpu_seconds"]
        return done["result"]

    for seed in range(given.seeds):
        for d, n in dims.items():
            row = record(seed, (d, n), lambda d=d, n=n, seed=seed: mixture_errors(d, n, few, reference, seed))
            mixture.setdefault(f"D={d}", []).append(row)
        best, features = nano.true_renders(seed)
        ceiling.append(best)
        for n in steps:
            for name, times in SCHEDULES.items():
                asked, stops = (name, n), times(n)
                row = record(seed, asked, lambda t=stops, seed=seed, f=features: nano.score(t, seed, f))
                runs.setdefault(f"{name}, {n} steps", []).append(row)
    result = {
        "settings": settings,
        "mixture": common.summary(mixture),
        "nano": common.summary(runs),
        "true_renders": {f: spread([row[f] for row in ceiling]) for f in FIGURES},
    }
    print(common.table(result["mixture"], list(next(iter(mixture.values()))[0])))
    print(common.table(result["nano"] | {"true renders": result["true_renders"]}, FIGURES))
    finish("schedule", given, spent, result, draw(result, dims, few, steps), (12, 3.6))


if __name__ == "__main__":
    main()
