"""The table and the plot of experiments on the easy world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.eval import reports
from kinema.eval.reports import bars, summary
from kinema.eval.runs import Arguments

from judging import SHOWN
from study import Study


def table(results: Mapping[str, Any], figures: Sequence[str]) -> str:
    """Markdown, mean +- standard deviation; what the judge reads in per cent."""
    return reports.table(results, figures, (*SHOWN, "all four"))


def finish(
    name: str,
    given: Arguments,
    cpu_seconds: float,
    result: Mapping[str, Any],
    draw: Callable[[Any], None],
    size: tuple[float, float] = (10, 3.2),
) -> None:
    """Write NAME.json and NAME.png; `draw(figure)` fills the plot."""
    reports.finish(name, given, cpu_seconds, result, draw, Path(__file__).resolve().parent, size)


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
