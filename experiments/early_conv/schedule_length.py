"""How much a short schedule costs: one, two and four lengths behind patches and behind convolutions.

    python experiments/early_conv/schedule_length.py

AdamW, each stem at the learning rate that `learning_rates.py` found best for it at the single length, as in the paper.
What is compared is the gap to the result of the longest schedule of the same stem and seed.
"""

from __future__ import annotations

from typing import Any

from early_conv_runs import DECAY, HERE, error, rates, settings, tasks

from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all

NAME = "schedule_length"
LENGTHS = (1, 2, 4)
STEMS = ("ViT_P", "ViT_C")
FIGURES = ("error 1x", "error 2x", "error 4x", "gap 1x", "gap 2x")


def lengths(name: str, stem: str, lr: float, seed: int, quick: bool) -> dict[str, float]:
    """The errors of one stem and seed after each length, and their gaps to the longest."""
    found = {
        length: error(name, stem, "adamw", lr, DECAY["adamw"], seed, length=length, quick=quick)
        for length in LENGTHS
    }
    gaps = {f"gap {length}x": found[length] - found[LENGTHS[-1]] for length in LENGTHS[:-1]}
    return {f"error {length}x": value for length, value in found.items()} | gaps


def draw(figure: Any, arms: dict[str, Any]) -> None:
    """A panel for each task, a line for each stem."""
    names = tasks()
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for stem in STEMS:
            cells = [arms[f"{name}, {stem}"][f"error {length}x"] for length in LENGTHS]
            axis.errorbar(
                LENGTHS, [c["mean"] for c in cells], [c["std"] for c in cells], label=stem, capsize=4
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks(LENGTHS, [f"{length}x" for length in LENGTHS])
        axis.set_title(name, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.supylabel("error, %", fontsize=9)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    chosen = {(name, stem): rates(name, "adamw")[stem] for name in tasks() for stem in STEMS}
    runs = [
        Run(
            f"{name}, {stem}",
            seed,
            settings() | {"lengths": LENGTHS, "lr": lr},
            lambda name=name, stem=stem, lr=lr, seed=seed: lengths(name, stem, lr, seed, given.quick),
        )
        for (name, stem), lr in chosen.items()
        for seed in range(given.seeds)
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary(found)
    print(table(arms, FIGURES))
    finish(
        NAME,
        given,
        spent,
        {
            "settings": settings()
            | {"lengths": LENGTHS, "lr": {f"{n}, {s}": lr for (n, s), lr in chosen.items()}},
            "arms": arms,
        },
        lambda figure: draw(figure, arms),
        (9.6, 3.2),
        folder=HERE,
    )


if __name__ == "__main__":
    main()
