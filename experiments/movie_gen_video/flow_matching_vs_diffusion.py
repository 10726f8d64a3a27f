"""Flow matching against v-prediction diffusion at equal compute, the law of training times apart from the path.

    python experiments/movie_gen_video/flow_matching_vs_diffusion.py

Two paths (straight; variance-preserving with zero terminal signal-to-noise, Stable Diffusion's levels rescaled) times
two laws of training times (logit-normal, uniform), the same network, data, noise, steps and guidance. Each path has
its own sampler: Euler along the velocity; DDIM on trailing levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from kinema.eval.runs import Run, arguments, run_all
from kinema.flow import diffusion
from kinema.flow.objective import flow_matching_loss
from kinema.flow.schedules import linear, linear_quadratic
from kinema.flow.solvers import Velocity, euler
from kinema.flow.times import TimeLaw, logit_normal, uniform

from judging import SHOWN
from reporting import report
from sampling import STEPS, Solver, sample, score, study_settings
from study import Study, load_study
from training import BATCH, TRAIN_STEPS, Objective, drawn, new_model, train

SIGNAL = diffusion.zero_terminal_signal()
NAME = "flow_matching_vs_diffusion"
FIGURES = (*SHOWN, "all four", "frechet")
PANELS = ("motion", "identity", "all four", "frechet")


@dataclass(frozen=True)
class Arm:
    """How one arm learns, and with which samplers its clips are made: name -> solver."""

    loss: Objective
    solvers: dict[str, Solver]


def straight(law: TimeLaw) -> Arm:
    """Flow matching."""
    return Arm(
        lambda velocity, x, generator: flow_matching_loss(velocity, x, generator, law)[0],
        {
            "Euler": lambda v, x: euler(v, x, linear(STEPS)),
            "Euler, linear-quadratic": lambda v, x: euler(v, x, linear_quadratic(STEPS)),
        },
    )


def diffused(law: TimeLaw) -> Arm:
    """v-prediction with zero terminal signal-to-noise."""

    def loss(network: Velocity, x: Tensor, generator: torch.Generator) -> Tensor:
        t = law(len(x), generator)
        noise = torch.randn(x.shape, generator=generator)
        signal = diffusion.signal_at(t, SIGNAL)
        made = network(diffusion.interpolate(noise, x, signal), t).float()
        return (made - diffusion.v_target(noise, x, signal)).square().mean()

    return Arm(loss, {"DDIM": ddim})


def ddim(network: Velocity, x: Tensor, steps: int = STEPS) -> Tensor:
    """Deterministic DDIM from pure noise; levels trail, so the first is the one without signal."""
    for start, end in pairwise(linear(steps).tolist()):
        t = torch.full((len(x),), start)
        here = diffusion.signal_at(t, SIGNAL)
        there = diffusion.signal_at(torch.full_like(t, end), SIGNAL)
        v = network(x, t)
        x = diffusion.interpolate(
            diffusion.noise_from_v(x, v, here), diffusion.data_from_v(x, v, here), there
        )
    return x


ARMS = {
    "straight, logit-normal": straight(logit_normal),
    "straight, uniform": straight(uniform),
    "diffusion, logit-normal": diffused(logit_normal),
    "diffusion, uniform": diffused(uniform),
}


def run(study: Study, arm: Arm, steps: int, seed: int) -> dict[str, dict[str, float]]:
    """Train one arm: sampler -> figures."""
    model = new_model(seed)
    train(study, model, arm.loss, lambda index: drawn(study.clips, index), steps, BATCH, seed)
    return {name: score(study, sample(study, model, solve, seed)) for name, solve in arm.solvers.items()}


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    study = load_study(given.quick)
    settings = study_settings(study) | {"steps": 2 if given.quick else TRAIN_STEPS, "batch": BATCH}
    found, spent = run_all(
        NAME,
        given,
        [
            Run(name, seed, settings, lambda arm=arm, seed=seed: run(study, arm, settings["steps"], seed))
            for seed in range(given.seeds)
            for name, arm in ARMS.items()
        ],
    )
    runs: dict[str, list[dict[str, float]]] = {}
    for name, rows in found.items():
        for row in rows:
            for sampler, figures in row.items():
                runs.setdefault(f"{name}; {sampler}", []).append(figures)
    report(NAME, given, spent, study, settings, runs, FIGURES, PANELS)


if __name__ == "__main__":
    main()
