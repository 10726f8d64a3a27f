"""Text-to-image first, then pictures and clips together, against both together from the start.

    python experiments/movie_gen_video/warm_start.py

Once at an equal number of seen samples (half of them in the stage of pictures; that is the cheaper run), once at equal
compute (a quarter of it in the stage of pictures). The joint stage has one batch of pictures to ten of clips.
"""

from __future__ import annotations

from kinema.eval.runs import Run, arguments, run_all

from judging import SHOWN
from reporting import report
from sampling import evaluate, study_settings
from study import Study, load_study
from training import BATCH, TRAIN_STEPS, Mixture, new_model, step_flops, straight_loss, train
from world import FRAMES

NAME = "warm_start"
FIGURES = (*SHOWN, "all four", "frechet", "held-out loss")
PANELS = ("motion", "identity", "all four", "frechet", "held-out loss")
PICTURE_EVERY = 11
PICTURES_A_STEP = BATCH * FRAMES // 4


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


def run(study: Study, plan: tuple[int, int], seed: int) -> dict[str, float]:
    """Train and judge one arm."""
    model, (first, then) = new_model(seed), plan
    if first:
        pictures = Mixture(study, 1)
        train(study, model, straight_loss, pictures, first, BATCH, seed + 100, schedule="constant")
    train(study, model, straight_loss, Mixture(study, PICTURE_EVERY), then, BATCH, seed)
    return evaluate(study, model, seed)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    study = load_study(given.quick)
    clip, picture = (step_flops(study, Mixture(study, every), BATCH) for every in (0, 1))
    settings = study_settings(study) | {"batch": BATCH, "step_flops": {"clips": clip, "pictures": picture}}
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
    settings = settings | {"steps on pictures, joint steps": arms}
    report(NAME, given, spent, study, settings, runs, FIGURES, PANELS)


if __name__ == "__main__":
    main()
