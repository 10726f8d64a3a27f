"""Which learning rate is good: one grid for both stems, for each task and optimiser; nothing is tested here.

    python experiments/early_conv/learning_rates.py

Five rates, a factor of three apart, with each of the two stems from one start. Errors are of training scenes (and
pictures) that were left out of the training; the two other commands read `results/learning_rates.json`.
"""

from __future__ import annotations

from typing import Any

from early_conv_runs import DECAY, FACTORS, HERE, MIDDLES, NAMES, OPTIMIZERS, arm, error, settings, tasks

from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all

NAME = "learning_rates"
START = 100  # the seed: not one of the study's


def draw(figure: Any, arms: dict[str, Any]) -> None:
    """A panel for each task and optimiser, a line for each stem."""
    names = tasks()
    panels = figure.subplots(len(OPTIMIZERS), len(names), squeeze=False)
    for row, optimizer in zip(panels, OPTIMIZERS, strict=True):
        lrs = [MIDDLES[optimizer] * factor for factor in FACTORS.values()]
        for axis, name in zip(row, names, strict=True):
            for stem in ("ViT_P", "ViT_C"):
                cells = arms[arm(name, stem, optimizer)].values()
                axis.errorbar(
                    lrs, [c["mean"] for c in cells], [c["std"] for c in cells], label=stem, capsize=3
                )
            axis.set_xscale("log")
            axis.set_title(f"{name}, {NAMES[optimizer]}", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("error, %")
    panels[-1][0].set_xlabel("learning rate")
    panels[0][0].legend(frameon=False, fontsize=8)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    runs = [
        Run(
            arm(name, stem, optimizer),
            0,
            settings() | {"factors": list(FACTORS)},
            lambda name=name, stem=stem, optimizer=optimizer: {
                label: error(
                    name,
                    stem,
                    optimizer,
                    MIDDLES[optimizer] * factor,
                    DECAY[optimizer],
                    START,
                    choosing=True,
                    quick=given.quick,
                )
                for label, factor in FACTORS.items()
            },
        )
        for name in tasks()
        for optimizer in OPTIMIZERS
        for stem in ("ViT_P", "ViT_C")
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary(found)
    print(table(arms, tuple(FACTORS)))
    finish(
        NAME,
        given,
        spent,
        {"settings": settings() | {"middles": MIDDLES}, "arms": arms},
        lambda figure: draw(figure, arms),
        (9.6, 5.2),
        folder=HERE,
    )


if __name__ == "__main__":
    main()
