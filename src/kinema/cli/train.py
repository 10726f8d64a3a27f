"""`kinema train`: run a model's recipe."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.cli.outputs import check_folder
from kinema.cli.prompts import check_number
from kinema.cli.shell import Device, Json, print_json
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.train import Stage


def train(
    name: Annotated[str, typer.Argument(help="A name from `kinema models`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The run's folder.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--preset", help="The size to train; default: the one of NAME.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A folder of your clips with captions; default: the Small World."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="At most this many steps in each stage.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, noise and order.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="STAGE.FIELD=VALUE, as often as you like.", show_default=False),
    ] = None,
    resume: Annotated[
        str,
        typer.Option(
            "--resume", help="auto goes on where the folder's run stopped, never refuses a used folder."
        ),
    ] = "auto",
    init: Annotated[
        str,
        typer.Option(
            "--init",
            help="Weights to start from: none, nano or a path; auto: nano with --data, --size or --num-frames.",
        ),
    ] = "auto",
    size: Annotated[
        int | None,
        typer.Option("--size", help="Grow the weights of --init to this height and width in pixels."),
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option("--num-frames", help="Grow the weights of --init to this many frames.")
    ] = None,
    buckets: Annotated[
        str | None,
        typer.Option(
            "--buckets", help="Train on clips of several sizes and lengths, by the table of this name."
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            "--precision", help="auto, fp32 or bf16; auto is bf16 where the device has units for it."
        ),
    ] = "auto",
    parallel: Annotated[
        str,
        typer.Option(
            "--parallel", help="Under torchrun: ddp copies the model to each process, fsdp shards it."
        ),
    ] = "ddp",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the stages as they would run, and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model by its paper's recipe.

    Killed at any point, the same command goes on where it stopped.
    """
    from kinema import hub

    entry = hub.find(name)
    preset = preset or entry.preset
    if entry.recipe is None:
        raise UserError(f"{name} has no recipe yet: `kinema info {name}` says what it has")
    if preset not in entry.presets:
        raise UserError(f"{name} has no preset '{preset}'; {hub.closest(preset, entry.presets)}")
    if resume not in ("auto", "never"):
        raise UserError(f"--resume is '{resume}' and must be auto or never")
    if max_steps is not None and max_steps < 1:
        raise UserError(f"--max-steps is {max_steps} and must be 1 or more")
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"--precision is '{precision}' and must be auto, fp32 or bf16")
    if parallel not in ("ddp", "fsdp"):
        raise UserError(f"--parallel is '{parallel}' and must be ddp or fsdp")
    check_number("seed", seed)
    if seed < 0:
        raise UserError(f"--seed is {seed} and a run must be repeatable: give a seed of 0 or more")
    if data is not None and "{" not in data.name and not data.exists():
        raise UserError(f"'{data}' does not exist: --data names a folder of clips with captions, or shards")
    check_folder(out)
    parsed = [parse_override(text) for text in overrides or []]
    builder = hub.resolve(entry.recipe)
    given = given_options(name, builder, {"size": size, "num_frames": num_frames, "buckets": buckets})
    if init == "auto":
        goes_on = data is not None or size is not None or num_frames is not None
        init = "nano" if goes_on and preset == entry.preset else "none"
    start = None if init == "none" else hub.resolve_weights(entry, init)

    recipe = builder(preset=preset, data=data, seed=seed, init=start, **given)
    stages = recipe.stages
    if max_steps is not None:
        for stage in stages:
            stage.steps = min(stage.steps, max_steps)
            stage.warmup_steps = min(stage.warmup_steps, stage.steps - 1)
    for override in parsed:
        apply_override(stages, *override)
    if dry_run:
        _show(stages, as_json)
        return
    from kinema.train import run_stages

    settings = {
        "model": entry.name,
        "preset": preset,
        "seed": seed,
        "init": init if start is None else start.name,
        **given,
    }
    settings["data"] = "the Small World" if data is None else data.name
    run_stages(
        stages,
        out,
        resume=resume,
        seed=seed,
        settings=settings,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked above
        parallel=parallel,  # type: ignore[arg-type]
    )
    if int(os.environ.get("RANK", "0")):
        return  # every process has the same weights; the first one writes them
    weights = recipe.finish(out / "final")
    if as_json:
        print_json({"run": str(out), "stages": [stage.name for stage in stages], "weights": str(weights)})
    else:
        print(f"the run is in {out}; its weights are {weights}")


def given_options(name: str, builder: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; one that the recipe has no keyword for is a `UserError`."""
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(builder).parameters
    for option, value in given.items():
        flag = f"--{option.replace('_', '-')}"
        if option not in known:
            raise UserError(f"the recipe of {name} takes no {flag}: leave it out")
        if isinstance(value, int) and value < 1:
            raise UserError(f"{flag} is {value} and must be 1 or more")
    return given


def parse_override(text: str) -> tuple[str, str, Any]:
    """`stage.field=value` into its three parts; the value is read as Python where it can be, else as a word."""
    path, equals, value = text.partition("=")
    stage, dot, field = path.strip().partition(".")
    if not (equals and dot and stage and field and value.strip()):
        raise UserError(
            f"--set {text!r} was not understood: write STAGE.FIELD=VALUE, for example --set video.lr=3e-4"
        )
    words = {"true": True, "false": False, "none": None}
    word = value.strip()
    if word.lower() in words:
        return stage, field, words[word.lower()]
    try:
        return stage, field, ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return stage, field, word


def apply_override(stages: Sequence[Stage], stage_name: str, field: str, value: Any) -> None:
    """Set one field of one stage; an unknown name or a value of another kind is a `UserError`."""
    from kinema.hub import closest

    known = {stage.name: stage for stage in stages}
    if stage_name not in known:
        raise UserError(f"there is no stage '{stage_name}' in this recipe; {closest(stage_name, known)}")
    stage = known[stage_name]
    settable = [f.name for f in fields(stage) if f.name != "name" and is_plain(getattr(stage, f.name))]
    if field not in settable:
        raise UserError(f"a stage has no setting '{field}'; {closest(field, settable)}")
    old = getattr(stage, field)
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if old is not None and value is not None and type(value) is not type(old):
        raise UserError(
            f"{stage_name}.{field} is {old!r}, and {value!r} is of another kind: give a {type(old).__name__}"
        )
    setattr(stage, field, value)


def is_plain(value: Any) -> bool:
    """Whether a setting can be typed: numbers, words, and tuples or tables of them; not functions or networks."""
    if isinstance(value, tuple | list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str)


def _show(stages: Sequence[Stage], as_json: bool) -> None:
    rows = {
        stage.name: {
            f.name: getattr(stage, f.name) for f in fields(stage) if is_plain(getattr(stage, f.name))
        }
        for stage in stages
    }
    if as_json:
        print_json({"stages": rows})
        return
    for name, row in rows.items():
        print(f"[{name}]")
        for field, value in row.items():
            print(f"  {field} = {value!r}")
