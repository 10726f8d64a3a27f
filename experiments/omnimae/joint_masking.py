"""Masking images and clips with one network, against a network for images alone and one for clips alone.

    python experiments/omnimae/joint_masking.py

All learn without labels from the same pictures and clips of the Small World, 0.90 of an image's patches and 0.95 of a
clip's dropped. Twice: with as many steps, and with as much arithmetic as the joint one (a step on clips costs more than
one on images). Then the frozen features are probed on images and clips, of the Small World and real, and each
network fills in held-out images and clips.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from omnimae_study import (
    BATCH,
    CONFIG,
    PREPROCESSING,
    Row,
    Sizes,
    chances,
    probed,
    real_sets,
    train,
)

from kinema.eval.reports import bars, finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.omnimae.model import autoencoder
from kinema.systems.omnimae.objective import is_clip_step, masking_loss
from kinema.train import seed_everything
from kinema.train.flops import count_flops

NAME = "joint_masking"
STEPS = 500
SHOWN = ("image loss", "clip loss", "object kNN", "motion linear", "Fashion-MNIST linear")
ARMS = {"joint": 0.5, "images alone": 0.0, "clips alone": 1.0}  # share of steps on clips


@cache
def cost(kind: str) -> int:
    """Operations of a step's forward and backward."""
    model = autoencoder(CONFIG)
    shape = (3, CONFIG.image_size, CONFIG.image_size)
    x = torch.zeros(BATCH, *shape) if kind == "image" else torch.zeros(BATCH, 3, CONFIG.frames, *shape[1:])
    with count_flops() as counted:
        loss, _ = masking_loss(model, x, torch.Generator(), PREPROCESSING)
        loss.backward()
    return counted.total


def plan(arm: str, seed: int, steps: int) -> int:
    """Steps of an arm that take as much arithmetic as the joint network's."""
    on_clips = sum(is_clip_step(step, 0.5, seed) for step in range(steps))
    joint = on_clips * cost("clip") + (steps - on_clips) * cost("image")
    return max(1, round(joint / cost("clip" if ARMS[arm] else "image")))


def run(arm: str, seed: int, steps: int, sizes: Sizes) -> Row:
    """Train and probe one network; no steps leave it as it was drawn."""
    if not steps:
        seed_everything(seed)
        return probed(autoencoder(CONFIG).eval(), sizes)
    return probed(train(seed, steps, ARMS[arm], sizes), sizes)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    steps = 4 if given.quick else STEPS
    sizes = Sizes(64, 32, 64, 20) if given.quick else Sizes()
    settings = {"steps": steps, "batch": BATCH, "sizes": vars(sizes), "real": sorted(real_sets(sizes))}
    plans = {"untrained": ("joint", lambda seed: 0)}
    plans |= {arm if arm == "joint" else f"{arm}, equal steps": (arm, lambda seed: steps) for arm in ARMS}
    plans |= {
        f"{arm}, equal compute": (arm, lambda seed, arm=arm: plan(arm, seed, steps))
        for arm in ARMS
        if arm != "joint"
    }
    runs = [
        Run(
            name,
            seed,
            settings | {"plan": count(seed)},
            lambda arm=arm, seed=seed, count=count: run(arm, seed, count(seed), sizes),
        )
        for name, (arm, count) in plans.items()
        for seed in range(given.seeds)
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary(found)
    figures = [figure for figure in arms["joint"] if "loss" not in figure]
    print(table(arms, [*SHOWN[:2], *figures], shares=figures))
    finish(
        NAME,
        given,
        spent,
        {
            "settings": settings,
            "steps": {
                name: [count(seed) for seed in range(given.seeds)] for name, (_, count) in plans.items()
            },
            "operations_a_step": {kind: cost(kind) for kind in ("image", "clip")},
            "most_frequent_class": chances(sizes),
            "arms": arms,
        },
        lambda figure: bars(figure, arms, [f for f in SHOWN if f in arms["joint"]], {}),
        (12.0, 3.6),
        folder=Path(__file__).resolve().parent,
    )


if __name__ == "__main__":
    main()
