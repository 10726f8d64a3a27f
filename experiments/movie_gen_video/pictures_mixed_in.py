"""Do pictures mixed into the training on clips help it, at equal compute?

    python experiments/movie_gen_video/pictures_mixed_in.py

Clips alone; every eleventh batch of pictures (1:10, the paper's); every fourth (1:3). A batch of pictures has four for
each clip of a batch of clips: as many tokens. The pictures are of three times as many scenes as the clips.
"""

from __future__ import annotations

from kinema.eval.runs import Run, arguments, run_all

from judging import SHOWN
from reporting import report
from sampling import evaluate, study_settings
from study import Study, load_study
from training import BATCH, TRAIN_STEPS, Mixture, new_model, step_flops, straight_loss, train

NAME = "pictures_mixed_in"
FIGURES = (*SHOWN, "all four", "frechet", "held-out loss")
PANELS = ("motion", "identity", "all four", "frechet", "held-out loss")
ARMS = {"clips alone": 0, "pictures 1:10": 11, "pictures 1:3": 4}


def run(study: Study, picture_every: int, steps: int, seed: int) -> dict[str, float]:
    """Train and judge one arm."""
    model = new_model(seed)
    train(study, model, straight_loss, Mixture(study, picture_every), steps, BATCH, seed)
    return evaluate(study, model, seed)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    study = load_study(given.quick)
    clip, picture = (step_flops(study, Mixture(study, every), BATCH) for every in (0, 1))
    settings = study_settings(study) | {"batch": BATCH, "step_flops": {"clips": clip, "pictures": picture}}
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
    report(NAME, given, spent, study, settings | {"steps": steps}, runs, FIGURES, PANELS)


if __name__ == "__main__":
    main()
