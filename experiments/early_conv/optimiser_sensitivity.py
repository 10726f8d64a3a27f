"""How much hangs on the optimiser's settings: random learning rates and decays, behind patches and convolutions.

    python experiments/early_conv/optimiser_sensitivity.py

The paper's protocol (section 5) on three small tasks. For each optimiser pairs of learning rate and decay are drawn
log-uniform from an interval of the paper's width, an eighth to four times a good value, the same pairs for all stems;
`learning_rates.py` found the good values. A short training runs with each pair. What is compared is the distribution of
errors above the stem's own best.
"""

from __future__ import annotations

import random
import statistics
from typing import Any

from early_conv_runs import DECAY, HERE, NAMES, OPTIMIZERS, STEMS, arm, error, rates, settings, tasks

from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.early_conv.study import Errors, Interval, OptimizerKind, curve

NAME = "optimiser_sensitivity"
PAIRS = 4  # a seed
REACH, NEAR = 20.0, 5.0  # points of error: how far areas reach, and what counts as near the best
FIGURES = ("best error", "median error", "median gap", "area", "near the best", "diverged")


def errors(name: str, stem: str, optimizer: OptimizerKind, seed: int, lr: float, quick: bool) -> list[float]:
    """The errors of a seed's pairs."""
    drawn = Interval.around(lr, DECAY[optimizer]).draw(2 if quick else PAIRS, seed)
    return [error(name, stem, optimizer, *pair, seed, quick=quick) for pair in drawn]


def figures(values: list[float], best: float) -> dict[str, float]:
    """The figures of one seed's runs; gaps are to the best of all seeds' runs."""
    own = Errors(tuple(values))
    return {
        "best error": own.best,
        "median error": own.best + own.median_gap(),
        "median gap": own.median_gap(best),
        "area": own.area(REACH, best),
        "near the best": own.distribution(NEAR, best),
        "diverged": sum(value == 100.0 for value in own.values) / len(own.values),
    }


def pooled(values: list[float]) -> dict[str, Any]:
    """All runs of an arm: area and median gap with their bootstrap intervals, and the errors."""
    own = Errors(tuple(values))
    return {
        "best error": own.best,
        "area": own.area(REACH),
        "area 95 %": own.area_interval(REACH),
        "median gap": own.median_gap(),
        "median gap 95 %": own.interval(lambda errors, best: errors.median_gap(best)),
        "near the best": own.distribution(NEAR),
        "errors": own.values,
    }


def paired(first: list[list[float]], second: list[list[float]], draws: int = 2000) -> dict[str, Any]:
    """Errors of the first stem less those of the second with the same pair and start: mean, and bootstrap interval."""
    apart = [a - b for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)]
    rng = random.Random(f"{NAME}:paired")
    means = sorted(statistics.fmean(rng.choices(apart, k=len(apart))) for _ in range(draws))
    return {
        "mean": statistics.fmean(apart),
        "95 %": (means[int(0.025 * draws)], means[int(0.975 * draws)]),
        "share above 0": sum(value > 0 for value in apart) / len(apart),
    }


def draw(figure: Any, found: dict[str, Any]) -> None:
    """A panel for each task: the share of runs below each gap."""
    names = tasks()
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for colour, optimizer in zip(("C0", "C1"), OPTIMIZERS, strict=True):
            for line, stem in zip((":", "-", "--"), STEMS, strict=True):
                steps = curve(Errors(tuple(found[arm(name, stem, optimizer)]["errors"])), REACH, 401)
                axis.plot(*zip(*steps, strict=True), line, color=colour, label=f"{stem}, {NAMES[optimizer]}")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("points of error above the best", fontsize=9)
        axis.set_ylim(0, 1.02)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.supylabel("share of runs", fontsize=9)


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    centres = {(name, kind): rates(name, kind)["both"] for name in tasks() for kind in OPTIMIZERS}
    runs = [
        Run(
            arm(name, stem, kind),
            seed,
            settings() | {"pairs": PAIRS, "lr": lr},
            lambda name=name, stem=stem, kind=kind, seed=seed, lr=lr: errors(
                name, stem, kind, seed, lr, given.quick
            ),
        )
        for (name, kind), lr in centres.items()
        for stem in STEMS
        for seed in range(given.seeds)
    ]
    found, spent = run_all(NAME, given, runs)
    together = {key: pooled([value for values in seeds for value in values]) for key, seeds in found.items()}
    arms = summary(
        {
            key: [figures(values, together[key]["best error"]) for values in seeds]
            for key, seeds in found.items()
        }
    )
    differences = {
        f"{name}, {NAMES[kind]}": paired(found[arm(name, "ViT_P", kind)], found[arm(name, "ViT_C", kind)])
        for name, kind in centres
    }
    print(table(arms, FIGURES, ("near the best", "diverged")))
    for key, row in differences.items():
        low, high = row["95 %"]
        print(f"{key}: ViT_P less ViT_C {row['mean']:.1f} points ({low:.1f} to {high:.1f})")
    finish(
        NAME,
        given,
        spent,
        {
            "settings": settings()
            | {
                "pairs": PAIRS,
                "reach": REACH,
                "near": NEAR,
                "lr": {f"{n}, {k}": lr for (n, k), lr in centres.items()},
            },
            "arms": arms,
            "pooled": together,
            "ViT_P less ViT_C": differences,
        },
        lambda figure: draw(figure, together),
        (11.0, 3.6),
        folder=HERE,
    )


if __name__ == "__main__":
    main()
