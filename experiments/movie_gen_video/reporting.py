"""The table and the plot of experiments on the easy world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kinema.eval import reports
from kinema.eval.reports import bars, summary
from kinema.eval.runs import Arguments

from judging import SHOWN
from study import Study

table = partial(reports.table, shares=(*SHOWN, "all four"))  # what the judge reads stands in per cent
finish = partial(reports.finish, folder=Path(__file__).resolve().parent)


def report(
    name: str,
    given: Arguments,
    cpu_seconds: float,
    study: Study,
    settings: Mapping[str, Any],
    rows: Mapping[str, Sequence[Mapping[str, float]]],
    figures: Sequence[str],
    shown: Sequence[str],
) -> None:
    """Print and write what the arms got on the easy world: `figures` in the table, `shown` in the plot.

    `cpu_seconds` are those of the runs; what the study's data took is added. `rows`: arm -> a row of figures a seed.
    """
    arms, true = summary(rows), study.ceiling | {"frechet": study.frechet_floor}
    result = {"settings": settings, "arms": arms, "true_clips": true}
    print(table(arms, figures))
    spent = cpu_seconds + study.cpu_seconds
    finish(name, given, spent, result, lambda figure: bars(figure, arms, shown, true))
