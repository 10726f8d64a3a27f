"""From the figures of an experiment's runs to a table, NAME.json and NAME.png."""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from kinema.eval.runs import Arguments
from kinema.train import Precision


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation over seeds (0 for one), and the values."""
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "values": list(values),
    }


def summary(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Arm -> one row of figures a seed, to arm -> figure -> spread."""
    return {
        arm: {figure: spread([row[figure] for row in rows]) for figure in rows[0]}
        for arm, rows in runs.items()
    }


def table(results: Mapping[str, Any], figures: Sequence[str], shares: Collection[str] = ()) -> str:
    """Markdown, mean +- standard deviation; `shares` in per cent."""
    lines = ["| |" + "".join(f" {f} |" for f in figures), "|---|" + "---|" * len(figures)]
    for arm, row in results.items():
        cells = []
        for figure in figures:
            factor, digits = (100, 1) if figure in shares else (1, _digits(row[figure]["mean"]))
            cells.append(
                f" {factor * row[figure]['mean']:.{digits}f} ± {factor * row[figure]['std']:.{digits}f} |"
            )
        lines.append(f"| {arm} |" + "".join(cells))
    return "\n".join(lines)


def _digits(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 1


def finish(
    name: str,
    given: Arguments,
    cpu_seconds: float,
    result: Mapping[str, Any],
    draw: Callable[[Any], None],
    size: tuple[float, float] = (10, 3.2),
    *,
    folder: Path,
) -> None:
    """Write NAME.json and NAME.png; `draw(figure)` fills the plot.

    folder: of the experiment; results go to its `results`, the plot to the documentation's images.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    head = {
        "cpu_seconds": round(cpu_seconds, 1),
        "threads": torch.get_num_threads(),
        "quick": given.quick,
        "torch": torch.__version__,
        "compute": str(Precision.choose("auto", "cpu").compute),
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    results, images = (
        (given.out, given.out)
        if given.out
        else (folder / "results", folder.parents[1] / "docs" / "images" / "experiments")
    )
    for place in (results, images):
        place.mkdir(parents=True, exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(head | dict(result), indent=1) + "\n", encoding="utf-8")
    figure = pyplot.figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(images / f"{name}.png", dpi=110)
    pyplot.close(figure)


def bars(figure: Any, results: Mapping[str, Any], figures: Sequence[str], marks: Mapping[str, float]) -> None:
    """One panel a figure, one bar an arm, the standard deviation as whisker; `marks`: a dotted line in a panel."""
    for axis, name in zip(figure.subplots(1, len(figures)), figures, strict=True):
        for place, (arm, row) in enumerate(results.items()):
            cell = row[name]
            axis.bar(place, cell["mean"], yerr=cell["std"], capsize=4, color=f"C{place}", label=arm)
        if name in marks:
            axis.axhline(marks[name], ls=":", color="grey", label="true")
        axis.set_title(name, fontsize=10)
        axis.set_xticks([])
        if all(row[name]["mean"] >= 0 for row in results.values()):
            axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axis.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False
    )
