"""Arms by seeds on nano's held-out clips: run, print and draw, as three of the experiments do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.eval.reports import bars, finish, spread, summary, table
from kinema.eval.runs import Arguments, Run, run_all
from kinema.world.scene import Scene

from nano import SHARES, held_out, nano

Row = dict[str, float]
SIZE = (12.0, 3.2)


def compare(
    name: str,
    given: Arguments,
    arms: Sequence[str],
    score: Callable[[str, int, list[Scene], int], Row],
    figures: Sequence[str],
    *,
    count: int,
    seconds: float,
    true: Callable[[list[Scene]], Row] | None = None,
    **settings: Any,
) -> None:
    """Score every arm for every seed; `true` gives the true sounds' row, drawn as a dotted line.

    score: (arm, seed, scenes, solver steps) -> figures. count, seconds: of a seed's clips. The first four figures are
    drawn.
    """
    count, steps = (3, 1) if given.quick else (count, 16)
    _, weights = nano()
    told = {"scenes": count, "seconds": seconds, "steps": steps, "weights": weights, **settings}
    scenes = {seed: held_out(count, seed, seconds) for seed in range(given.seeds)}
    runs, spent = run_all(
        name,
        given,
        [
            Run(arm, seed, told, lambda arm=arm, seed=seed: score(arm, seed, scenes[seed], steps))
            for seed in scenes
            for arm in arms
        ],
    )
    found = summary(runs)
    ceiling: Mapping[str, Any] = {}
    if true is not None:
        rows = [true(chosen) for chosen in scenes.values()]
        ceiling = {figure: spread([row[figure] for row in rows]) for figure in figures}
    print(table(found | ({"true sound": ceiling} if ceiling else {}), figures, SHARES))
    finish(
        name,
        given,
        spent,
        {"settings": told, "arms": found, "true_sound": ceiling},
        lambda figure: bars(figure, found, figures[:4], {k: cell["mean"] for k, cell in ceiling.items()}),
        SIZE,
        folder=Path(__file__).resolve().parent,
    )
