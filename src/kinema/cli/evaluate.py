"""`kinema eval`: judge a model with its own bench."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kinema.cli.making import counter, end_counter
from kinema.cli.outputs import check_output
from kinema.cli.prompts import check_number
from kinema.cli.shell import Device, Json, Weights, print_json
from kinema.errors import UserError


def evaluate(
    name: Annotated[str, typer.Argument(help="A name from `kinema models`.", show_default=False)],
    num_prompts: Annotated[
        int | None,
        typer.Option(
            "--num-prompts",
            help="How many clips to judge; default: the bench's own, 512 for video and 256 for sound, with --long 32.",
        ),
    ] = None,
    long: Annotated[
        bool,
        typer.Option("--long", help="Judge clips of four times the trained length for seams and drift."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the clips.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the report, as JSON.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Solver steps; the model's own if not given.")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", help="How hard the prompt pulls; the model's own if not given."),
    ] = None,
    compile_blocks: Annotated[
        bool, typer.Option("--compile", help="Compile the model first: pays from a few hundred clips on.")
    ] = False,
    weights: Weights = "nano",
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the report if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge a model on its own bench.

    The prompts are the same every time, and each figure stands beside what the judges score on true clips.
    """
    from kinema import hub

    entry = hub.find(name)
    bench = entry.long_evaluator if long else entry.evaluator
    if bench is None:
        what = "bench for long clips" if long else "bench"
        raise UserError(f"{name} has no {what} yet: `kinema info {name}` says what it has")
    num_prompts = (32 if long else entry.bench_size) if num_prompts is None else num_prompts
    if not 2 <= num_prompts <= 1_000_000:
        raise UserError(f"--num-prompts is {num_prompts} and must lie between 2 and 1,000,000")
    check_number("seed", seed)
    for setting, value in (("steps", steps), ("guidance_scale", guidance_scale)):
        if value is not None:
            check_number(setting, value)
    if seed < 0:
        raise UserError("--seed is -1 and a bench must be repeatable: give a seed of 0 or more")
    if out is not None:
        check_output(out, (".json",), overwrite)
    pipeline = hub.load(name, weights, device)
    if compile_blocks:
        if not hasattr(pipeline, "compile"):
            raise UserError(f"{name} cannot be compiled: leave out --compile")
        pipeline.compile()
    progress = counter("clip ", None, shown=not as_json)
    report = as_plain(
        hub.resolve(bench)(
            pipeline,
            num_prompts=num_prompts,
            seed=seed,
            steps=steps,
            guidance_scale=guidance_scale,
            progress=progress,
        )
    )
    end_counter(progress)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(report)
        return
    for line in table(report):
        print(line)
    if out is not None:
        print(f"wrote {out}")


def as_plain(report: Any) -> dict[str, Any]:
    """A report as a table for JSON: a mapping stays one, a dataclass becomes one."""
    return asdict(report) if is_dataclass(report) and not isinstance(report, type) else dict(report)


def table(report: Mapping[str, Any], indent: str = "") -> list[str]:
    """Lines of name and figure; tables inside tables are indented."""
    width = max((len(name) for name in report), default=0)
    lines = []
    for name, value in report.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}", *table(value, indent + "  ")]
        else:
            lines.append(
                f"{indent}{name:{width}}  {value:.4g}"
                if isinstance(value, float)
                else f"{indent}{name:{width}}  {value}"
            )
    return lines
