"""What a network makes of the held-out captions, and how good it is."""

# B batch, C latent channels, T H W latent frames, rows, columns

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kinema.eval.frechet import frechet_distance
from kinema.flow import paths
from kinema.flow.guidance import guided
from kinema.flow.schedules import linear, linear_quadratic
from kinema.flow.solvers import Velocity, euler
from kinema.systems.movie_gen.video.model import MovieGenTransformer
from kinema.train import Precision, make_generator

from judging import judged, shares
from study import Study

GUIDANCE_SCALE, STEPS = 2.5, 25
SCHEDULES: dict[str, Callable[[int], Tensor]] = {"uniform": linear, "linear-quadratic": linear_quadratic}

Solver = Callable[[Velocity, Tensor], Tensor]


def study_settings(study: Study) -> dict[str, Any]:
    """What all runs on the easy world share, for the results."""
    return {
        "clips": len(study.clips.text),
        "pictures": len(study.pictures.text),
        "judged": len(study.scenes),
        "guidance": GUIDANCE_SCALE,
        "sampler_steps": STEPS,
        "weights": study.weights,
    }


def euler_solver(velocity: Velocity, x: Tensor) -> Tensor:
    """Equal Euler steps."""
    return euler(velocity, x, linear(STEPS))


@torch.inference_mode()
def sample(study: Study, model: MovieGenTransformer, solve: Solver, seed: int) -> Tensor:
    """One latent for each held-out caption: what `solve(network under guidance, noise)` gives."""
    noise = torch.randn(study.held_out.latent.shape, generator=make_generator(seed, "noise"))
    precision, made = Precision.choose("auto", "cpu"), []
    for part, rows in zip(noise.split(64), study.held_out.text.split(64), strict=True):
        with precision.autocast():
            condition = model.prepare(study.states(torch.cat([rows, torch.zeros_like(rows)])))

            def network(x: Tensor, t: Tensor, condition: Any = condition) -> Tensor:
                with precision.autocast():
                    return model(x, t, condition)

            made.append(solve(guided(network, GUIDANCE_SCALE), part))
    return torch.cat(made)


def score(study: Study, latent: Tensor) -> dict[str, float]:
    """Judge one latent for each held-out caption."""
    told, features = judged(study.parts, latent)
    return shares(told, study.scenes) | {"frechet": frechet_distance(features, study.true_features)}


@torch.inference_mode()
def held_out_loss(study: Study, model: MovieGenTransformer, levels: int = 8) -> float:
    """Flow-matching loss on held-out clips, at evenly spread times, with the same noise for every model."""
    data, precision = study.held_out, Precision.choose("auto", "cpu")
    generator = make_generator("held out")
    total = 0.0
    for level in range(levels):
        for x, rows in zip(data.latent.split(128), data.text.split(128), strict=True):
            noise = torch.randn(x.shape, generator=generator)
            t = torch.full((len(x),), (level + 0.5) / levels)
            with precision.autocast():
                made = model(paths.interpolate(noise, x, t), t, study.states(rows))
            error = (made.float() - paths.velocity_target(noise, x)).square()
            total += float(error.mean()) * len(x)
    return total / levels / len(data.latent)


def evaluate(study: Study, model: MovieGenTransformer, seed: int) -> dict[str, float]:
    """Figures of what equal Euler steps make, and the held-out loss."""
    row = score(study, sample(study, model, euler_solver, seed))
    return row | {"held-out loss": held_out_loss(study, model)}
