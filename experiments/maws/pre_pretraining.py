"""Does masked autoencoding before hashtags help, at equal steps and at equal arithmetic (2303.13496)?

    python experiments/maws/pre_pretraining.py

One small transformer and one corpus of tagged pictures of the Small World. Hashtags alone (WSP), masked autoencoding
alone (MAE), both after each other (MAWS), a tenth of the masked steps before hashtags, and neither. WSP also goes on
for as many steps, and for as many floating-point operations, as the masked stage took. Judged on clean classes of the
Small World and on real pictures: a linear probe, five pictures a class (linear, and with learned prompts), finetuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from maws_study import (
    BATCH,
    CONFIG,
    LR,
    QUICK,
    Row,
    Size,
    corpus,
    costs,
    frozen,
    masked,
    tagged,
    tests,
    tuned,
)

from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.maws.model import encoder
from kinema.train import seed_everything

NAME = "pre_pretraining"
HERE = Path(__file__).resolve().parent
SMOOTH = 50  # steps over which losses of tags are averaged before they are compared
DEEP = (
    "scratch",
    "MAE",
    "WSP 100 %",
    "WSP 100 %, equal FLOPs",
    "MAWS 100 %",
)  # finetuned and prompted as well


def run(seed: int, size: Size) -> dict[str, Any]:
    """Every arm of one seed: figures, and the losses of tags."""
    data = corpus(size.corpus)
    masked_flops, tags_flops = costs(data)
    more = round(size.masked * masked_flops / tags_flops)
    counts = {f"{budget} %": max(1, size.tags * budget // 100) for budget in size.budgets}
    maes = masked(
        data, seed, {"short": size.short, "MAE": size.masked, "MAE, twice": size.masked + size.tags}
    )
    plans: dict[str, tuple[Any, dict[str, int]]] = {
        "WSP": (
            None,
            {f"WSP {name}": count for name, count in counts.items()}
            | {f"WSP {name}, equal FLOPs": count + more for name, count in counts.items()}
            | {f"WSP {name}, equal steps": count + size.masked for name, count in counts.items()},
        ),
        "short MAWS": (maes["short"].encoder, {f"short MAWS {n}": count for n, count in counts.items()}),
        "MAWS": (maes["MAE"].encoder, {f"MAWS {n}": count for n, count in counts.items()}),
    }
    seed_everything(seed)
    trunks: dict[str, Any] = {"scratch": encoder(CONFIG)}
    trunks |= {name: maes[name].encoder for name in ("MAE", "MAE, twice")}
    losses = {}
    for arm, (start, snapshots) in plans.items():
        kept, losses[arm] = tagged(data, seed, start, snapshots)
        trunks |= kept
    rows = {name: rounded(frozen(trunk, seed, size)) for name, trunk in trunks.items()}
    deep = {name: rounded(tuned(trunks[name], seed, size)) for name in DEEP}
    return {
        "rows": rows,
        "deep": deep,
        "losses": {arm: smooth(values[: size.tags]) for arm, values in losses.items()},
        "flops": {"masked step": masked_flops, "tags step": tags_flops, "steps of equal FLOPs": more},
    }


def rounded(row: Row) -> Row:
    """Four digits, for the file."""
    return {name: round(value, 4) for name, value in row.items()}


def smooth(values: list[float]) -> list[float]:
    """The mean of each value and those before it, `SMOOTH` in all."""
    return [
        round(sum(own) / len(own), 4)
        for own in (values[max(0, k + 1 - SMOOTH) : k + 1] for k in range(len(values)))
    ]


def caught_up(losses: Mapping[str, list[float]]) -> dict[str, float]:
    """After which share of the steps an arm's loss is where that of tags alone ends; 1 and more: not before."""
    last = losses["WSP"][-1]
    return {
        arm: next((k for k, value in enumerate(own) if k >= SMOOTH and value <= last), len(own)) / len(own)
        for arm, own in losses.items()
    }


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    size = QUICK if given.quick else Size()
    settings = asdict(size) | {
        "batch": BATCH,
        "lr": LR,
        "config": CONFIG.to_dict(),
        "sets": sorted(tests(size.probe)),
    }
    runs = [Run("all", seed, settings, partial(run, seed, size)) for seed in range(given.seeds)]
    records, spent = run_all(NAME, given, runs)
    found = records["all"]
    arms, deep = (
        summary({arm: [one[part][arm] for one in found] for arm in found[0][part]})
        for part in ("rows", "deep")
    )
    losses = [one["losses"] for one in found]
    result = {
        "settings": settings,
        "flops": found[0]["flops"],
        "arms": arms,
        "tuned": deep,
        "share of steps to the loss of tags alone": summary({"all": [caught_up(own) for own in losses]})[
            "all"
        ],
        "losses": {
            arm: [round(sum(own[arm][k] for own in losses) / len(losses), 4) for k in range(0, size.tags, 10)]
            for arm in losses[0]
        },
    }
    for rows in (arms, deep):
        figures = tuple(next(iter(rows.values())))
        print(table(rows, figures, shares=figures), end="\n\n")
    print(result["share of steps to the loss of tags alone"])
    finish(NAME, given, spent, result, lambda figure: draw(figure, result), (11.0, 3.6), folder=HERE)


def draw(figure: Any, result: Mapping[str, Any]) -> None:
    """Two figures by budget, and the losses of tags."""
    arms, budgets = result["arms"], result["settings"]["budgets"]
    styles = ("WSP", "WSP, equal FLOPs", "WSP, equal steps", "short MAWS", "MAWS")
    shown = [name for name in next(iter(arms.values())) if name.endswith("linear")][:2]
    axes = figure.subplots(1, len(shown) + 1)
    for axis, name in zip(axes, shown, strict=False):
        for style, colour in zip(styles, ("C0", "C0", "C0", "C1", "C3"), strict=True):
            first, comma, rest = style.partition(",")
            cells = [arms[f"{first} {budget} %{comma}{rest}"][name] for budget in budgets]
            line = {"equal FLOPs": "--", "equal steps": ":"}.get(rest.strip(), "-")
            values = [100 * cell["mean"] for cell in cells]
            axis.errorbar(
                budgets,
                values,
                [100 * c["std"] for c in cells],
                ls=line,
                color=colour,
                label=style,
                capsize=3,
            )
        axis.axhline(100 * arms["MAE"][name]["mean"], color="grey", lw=1, label="MAE alone")
        axis.axhline(100 * arms["scratch"][name]["mean"], color="grey", lw=1, ls=":", label="scratch")
        axis.set(title=f"{name} probe, %", xlabel="steps of tags, %", xticks=budgets)
    for values, colour in zip(result["losses"].values(), ("C0", "C1", "C3"), strict=True):
        axes[-1].plot(range(0, 10 * len(values), 10), values, color=colour)
    axes[-1].set(title="loss of tags", xlabel="steps of tags")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=7, fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
