"""Do pictures mixed into the training on clips help it, at equal compute?

    python experiments/movie_gen_video/pictures_mixed_in.py

Clips alone; every eleventh batch of pictures (1:10, the paper's); every fourth (1:3). A batch of pictures has four for
each clip of a batch of clips: as many tokens. The pictures are of three times as many scenes as the clips.
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

NAME = "pictures_mixed_in"
FIGURES = (*common.SHOWN, "all four", "frechet", "held-out loss")
ARMS = {"clips alone": 0, "pictures 1:10": 11, "pictures 1:3": 4}


def run(study: common.Study, picture_every: int, steps: int, seed: int) -> dict[str, float]:
    """Train and judge one arm."""
    model = new_model(seed)
    train(study, model, common.straight_loss, Mixture(study, picture_every), steps, BATCH, seed)
    row = common.score(study, common.sample(study, model, common.euler_solver, seed))
    return row | {"held-out loss": common.held_out_loss(study, model)}


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    study = load_study(given.quick)
    clip, picture = (step_flops(study, Mixture(study, every), BATCH) for every in (0, 1))
    settings = common.settings(study) | {"batch": BATCH, "step_flops": {"clips": clip, "pictures": picture}}
    means = {name: clip + (picture - clip) / every if every else clip for name, every in ARMS.items()}
    steps = {name: 2 if given.quick else round(TRAIN_STEPS * clip / mean) for name, mean in means.items()}
    runs, spent = run_all(
        NAME,
        given,
        [
            Run(
                name,
                seed,
                settings | {"steps": steps[name]},
                lambda every=every, name=name, seed=seed: run(study, every, steps[name], seed),
            )
            for seed in range(given.seeds)
            for name, every in ARMS.items()
        ],
    )
    result = {
        "settings": settings | {"steps": steps},
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
