"""Text-to-image first, then pictures and clips together, against both together from the start.

    python experiments/movie_gen_video/warm_start.py

Once at an equal number of seen samples (half of them in the stage of pictures; that is the cheaper run), once at equal
compute (a quarter of it in the stage of pictures). The joint stage has one batch of pictures to ten of clips.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import common
from common import (
    BATCH,
    TRAIN_STEPS,
    Mixture,
    Run,
    arguments,
    finish,
    load_study,
    new_model,
    run_all,
    step_flops,
    train,
)

NAME = "warm_start"
FIGURES = (*common.SHOWN, "all four", "frechet", "held-out loss")
PICTURE_EVERY = 11
PICTURES_A_STEP = BATCH * common.FRAMES // 4


def plans(clip: int, picture: int) -> dict[str, tuple[int, int]]:
    """Arm -> steps on pictures, then joint steps, from the FLOPs of a step on clips and of one on pictures."""
    joint = clip + (picture - clip) / PICTURE_EVERY
    samples = BATCH + (PICTURES_A_STEP - BATCH) / PICTURE_EVERY  # of a joint step, on average
    return {
        "joint from scratch": (0, TRAIN_STEPS),
        "pictures first, equal samples": (
            round(TRAIN_STEPS * samples / 2 / PICTURES_A_STEP),
            TRAIN_STEPS // 2,
        ),
        "pictures first, equal compute": (round(TRAIN_STEPS * joint / 4 / picture), TRAIN_STEPS * 3 // 4),
    }


def run(study: common.Study, plan: tuple[int, int], seed: int) -> dict[str, float]:
    """Train and judge one arm."""
    model, (first, then) = new_model(seed), plan
    if first:
        train(
            study,
            model,
            common.straight_loss,
            Mixture(study, 1),
            first,
            BATCH,
            seed + 100,
            schedule="constant",
        )
    train(study, model, common.straight_loss, Mixture(study, PICTURE_EVERY), then, BATCH, seed)
    row = common.score(study, common.sample(study, model, common.euler_solver, seed))
    return row | {"held-out loss": common.held_out_loss(study, model)}


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    study = load_study(given.quick)
    clip, picture = (step_flops(study, Mixture(study, every), BATCH) for every in (0, 1))
    settings = common.settings(study) | {"batch": BATCH, "step_flops": {"clips": clip, "pictures": picture}}
    arms = plans(clip, picture)
    if given.quick:
        arms = {name: (min(first, 2), 2) for name, (first, _) in arms.items()}
    runs, spent = run_all(
        NAME,
        given,
        [
            Run(name, seed, settings | {"plan": plan}, lambda plan=plan, seed=seed: run(study, plan, seed))
            for seed in range(given.seeds)
            for name, plan in arms.items()
        ],
    )
    result = {
        "settings": settings | {"steps on pictures, joint steps": arms},
        "arms": common.summary(runs),
        "true_clips": study.ceiling | {"frechet": study.frechet_floor},
    }
    print(common.table(result["arms"], FIGURES))
    shown = ("motion", "identity", "all four", "frechet", "held-out loss")
    finish(
        NAME,
        given,
        spent + study.cpu_seconds,
        result,
        lambda figure: common.bars(figure, result["arms"], shown, result["true_clips"]),
    )


if __name__ == "__main__":
    main()
