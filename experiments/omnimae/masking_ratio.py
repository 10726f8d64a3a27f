"""How much to drop: seconds a step beside dropping nothing, and what the features know then.

    python experiments/omnimae/masking_ratio.py

For every seed a joint network learns with 0, 0.5, 0.75, 0.9 and 0.95 of the patches of both kinds dropped, for as many
steps. Then a step of each share is timed, in turns and in the same process: `times` is the seconds of dropping none
over those of dropping so many. Without masking the loss is of all patches.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from omnimae_study import (
    BATCH,
    CONFIG,
    PREPROCESSING,
    Row,
    Sizes,
    probed,
    real_sets,
    train,
    unlabelled,
    whole_loss,
)

from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.omnimae.model import autoencoder
from kinema.systems.omnimae.objective import masking_loss
from kinema.train import seed_everything

NAME = "masking_ratio"
STEPS, REPEATS = 200, 5
SHARES = (0.0, 0.5, 0.75, 0.9, 0.95)
TIMED = ("image ms", "image times", "clip ms", "clip times")


def timed(sizes: Sizes, repeats: int) -> dict[float, Row]:
    """Share -> processor milliseconds of a step (forward, backward, AdamW), and how many times less than with 0."""
    model = autoencoder(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    found: dict[tuple[str, float], list[float]] = {}
    for turn in range(repeats + 1):
        for kind in ("image", "clip"):
            x = unlabelled(kind, sizes)[:BATCH]
            for share in SHARES:
                begun = time.process_time()
                loss = (
                    masking_loss(model, x, generator, PREPROCESSING, share)[0]
                    if share
                    else whole_loss(model, x)
                )
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if turn:  # the first of each is not counted
                    found.setdefault((kind, share), []).append(time.process_time() - begun)
    median = {place: statistics.median(values) for place, values in found.items()}
    return {
        share: {
            f"{kind} {name}": value
            for kind in ("image", "clip")
            for name, value in (
                ("ms", 1000 * median[kind, share]),
                ("times", median[kind, 0.0] / median[kind, share]),
            )
        }
        for share in SHARES
    }


def run(seed: int, steps: int, sizes: Sizes, repeats: int) -> dict[str, Row]:
    """Share -> figures of one seed."""
    rows = {share: probed(train(seed, steps, 0.5, sizes, (share, share)), sizes) for share in SHARES}
    seed_everything(seed)
    times = timed(sizes, repeats)
    return {f"{share:g}": {**times[share], **rows[share]} for share in SHARES}


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    steps, repeats = (2, 1) if given.quick else (STEPS, REPEATS)
    sizes = Sizes(64, 32, 64, 20) if given.quick else Sizes(4000, 1000, 800, 500)
    settings = {"steps": steps, "batch": BATCH, "sizes": vars(sizes), "real": sorted(real_sets(sizes))}
    runs = [
        Run("all", seed, settings, lambda seed=seed: run(seed, steps, sizes, repeats))
        for seed in range(given.seeds)
    ]
    found, spent = run_all(NAME, given, runs)
    arms = summary({share: [one[share] for one in found["all"]] for share in found["all"][0]})
    figures = [figure for figure in arms["0"] if figure not in TIMED and "loss" not in figure]
    print(table(arms, [*TIMED, "image loss", "clip loss", *figures], shares=figures))
    finish(
        NAME,
        given,
        spent,
        {"settings": settings, "arms": arms},
        lambda figure: draw(figure, arms),
        (11.0, 3.4),
        folder=Path(__file__).resolve().parent,
    )


def draw(figure: Any, arms: dict[str, Any]) -> None:
    """What a share costs, and what it gives."""
    shares = [float(share) for share in arms]
    cost, losses, probes = figure.subplots(1, 3)
    panels = (
        (cost, ("image times", "clip times"), "times less than without masking", 1),
        (losses, ("image loss", "clip loss"), "loss on held-out patches", 1),
        (probes, ("family linear", "motion linear", "Fashion-MNIST linear"), "linear probe, %", 100),
    )
    for axis, names, title, factor in panels:
        for name in names:
            cells = [row[name] for row in arms.values() if name in row]
            if cells:
                axis.errorbar(
                    shares, [factor * c["mean"] for c in cells], [factor * c["std"] for c in cells], marker="o",
                    capsize=3, label=name,
                )  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("share dropped")
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
