"""`kinema plan`: what a run would need and how long it would take, before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.cli.shell import Json, print_json
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.train.plan import Device, Memory, Plan, Subject

GB = 1e9


def plan(
    name: Annotated[str, typer.Argument(help="A name from `kinema models`.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--preset", help="The size to plan for; default: the one of NAME.")
    ] = None,
    devices: Annotated[int, typer.Option("--devices", help="How many devices.")] = 1,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="a100, h100, h200, b200, l40s, l4, rtx4090, mi300x, or cpu: this machine, measured.",
        ),
    ] = "h100",
    num_frames: Annotated[
        int | None, typer.Option("--num-frames", "--frames", help="Frames per clip; default: the preset's.")
    ] = None,
    height: Annotated[int | None, typer.Option("--height", help="Rows of pixels.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Columns of pixels.")] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Samples a step for each group of TP x CP devices.")
    ] = 1,
    steps: Annotated[int, typer.Option("--steps", help="Steps of the run, for its days.")] = 100_000,
    mfu: Annotated[
        float | None,
        typer.Option(
            "--mfu",
            help="Share of the peak that the model's FLOPs reach; default 0.4, on a cpu 0.2 (bf16) or 0.6.",
        ),
    ] = None,
    tp: Annotated[int | None, typer.Option("--tp", help="Tensor parallel degree; default: chosen.")] = None,
    cp: Annotated[int | None, typer.Option("--cp", help="Context parallel degree; default: chosen.")] = None,
    fsdp: Annotated[
        int | None, typer.Option("--fsdp", help="Devices that share one state; default: the fewest that do.")
    ] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--checkpointing/--no-checkpointing",
            help="Recompute activations; default: where it does not fit otherwise.",
            show_default=False,
        ),
    ] = None,
    ema: Annotated[bool, typer.Option("--ema/--no-ema", help="Keep averaged weights.")] = True,
    as_json: Json = False,
) -> None:
    """Say what training a preset takes: parameters, FLOPs, memory on each device, a layout that fits, days.

    Everything is counted in closed form; nothing is built. Where a paper prints its stages, they stand beside ours.
    """
    from kinema import hub

    entry = hub.find(name)
    size = preset or entry.preset
    if entry.planner is None:
        raise UserError(f"{name} has no planner yet: `kinema info {name}` says what it has")
    if size not in entry.presets:
        raise UserError(f"{name} has no preset '{size}'; {hub.closest(size, entry.presets)}")
    if not 1 <= steps <= 10**12:
        raise UserError(f"--steps is {steps} and must be 1 or more")
    if devices < 1:
        raise UserError(f"--devices is {devices} and must be 1 or more")

    from kinema.train.plan import find_device, make_plan

    subject: Subject = hub.resolve(entry.planner)(size, num_frames, height, width)
    chosen_device = find_device(device)
    chosen = make_plan(
        subject.blueprint, chosen_device, devices, batch_size, checkpointing=checkpointing, mfu=mfu, ema=ema,
        tp=tp, cp=cp, fsdp=fsdp,
    )  # fmt: skip
    document = describe(subject, chosen, steps, devices, ema, mfu)
    if as_json:
        print_json(document)
        return
    for line in lines(subject, chosen, document):
        print(line)


def describe(
    subject: Subject, chosen: Plan, steps: int, devices: int, ema: bool, mfu: float | None
) -> dict[str, Any]:
    """Everything that is known, as a table for JSON. Memory is in bytes, work in FLOPs of one sample."""
    from kinema.train.plan import USABLE, Layout, memory, work

    blueprint, device, layout = chosen.blueprint, chosen.device, chosen.layout
    plain, recomputing = work(blueprint), work(blueprint, checkpointing=True)
    alternatives = {"DDP": Layout(replicas=devices), "FSDP": Layout(fsdp=devices), "chosen": layout}
    if devices == 1:
        alternatives = {"one device": layout}
    needs = {
        label: {
            "layout": str(each),
            "without_checkpointing": _bytes(memory(blueprint, each, chosen.batch, device, ema=ema)),
            "with_checkpointing": _bytes(
                memory(blueprint, each, chosen.batch, device, checkpointing=True, ema=ema)
            ),
        }
        for label, each in alternatives.items()
    }
    return {
        "model": subject.title,
        "sample": subject.sample,
        "tokens": blueprint.tokens,
        "text_tokens": blueprint.context_tokens,
        "parameters": blueprint.parameters,
        "flops_per_sample": {
            "forward": plain.forward,
            "backward": plain.backward,
            "model": plain.model,
            "executed": plain.executed,
            "executed_with_checkpointing": recomputing.executed,
        },
        "flops_per_step": chosen.work.executed * chosen.global_batch,
        "device": {
            "name": device.name,
            "title": device.title,
            "peak_flops": device.flops,
            "memory": _finite(device.memory),
            "usable_memory": _finite(USABLE * device.memory),
            "bandwidth": device.bandwidth,
        },
        "devices": devices,
        "layout": {
            **asdict(layout),
            "words": str(layout),
            "checkpointing": chosen.checkpointing,
            "fits": chosen.fits,
        },
        "batch_size": chosen.batch,
        "global_batch": chosen.global_batch,
        "memory_per_device": needs,
        "mfu": chosen.mfu,
        "step_seconds": chosen.step_seconds,
        "samples_per_second": chosen.global_batch / chosen.step_seconds,
        "steps": steps,
        "days": chosen.days(steps),
        "stages": stages(subject, device, mfu),
        "notes": list(subject.notes),
    }


def stages(subject: Subject, device: Device, mfu: float | None) -> list[dict[str, Any]]:
    """The paper's table of stages: what is printed beside what follows from it, and our estimate of its time."""
    rows = []
    for stage in subject.stages:
        ours = stage.plan(device, mfu)
        days = ours.days(stage.iterations)
        rows.append(
            {
                "stage": stage.name,
                "tokens": stage.blueprint.tokens,
                "devices": stage.devices,
                "tp": stage.tp,
                "cp": stage.cp,
                "batch_per_device": stage.batch,
                "global_batch": stage.global_batch,
                "printed_global_batch": stage.printed_batch,
                "learning_rate": stage.learning_rate,
                "iterations": stage.iterations,
                "samples": stage.samples,
                "printed_samples": stage.printed_samples,
                "checkpointing": ours.checkpointing,
                "memory_per_device": ours.memory.total,
                "fits": ours.fits,
                "step_seconds": ours.step_seconds,
                "days": days,
                "device_days": days * stage.devices,
                "note": stage.note,
            }
        )
    return rows


def lines(subject: Subject, chosen: Plan, document: dict[str, Any]) -> Iterator[str]:
    """The plan as it is printed."""
    flops, device = document["flops_per_sample"], chosen.device
    count = document["devices"]
    yield f"{subject.title} on {count:,} x {device.title}"
    yield _row(
        "sample", f"{subject.sample}: {document['tokens']:,} tokens, {document['text_tokens']:,} of text"
    )
    yield _row("parameters", f"{document['parameters']:,} ({_short(document['parameters'])})")
    yield _row(
        "FLOPs a sample", f"{flops['forward']:.3g} forward, {flops['model']:.3g} forward and backward (x3)"
    )
    yield _row(
        "", f"{flops['executed']:.3g} executed, {flops['executed_with_checkpointing']:.3g} with checkpointing"
    )
    yield _row("FLOPs a step", f"{document['flops_per_step']:.3g} for {chosen.global_batch:,} samples")
    yield ""
    width = 1 + max(len(str(each["layout"])) for each in document["memory_per_device"].values())
    yield f"  {'GB on each device':<{width + 13}}{'state':>8}{'activations':>13}{'working':>9}{'total':>9}"
    for each in document["memory_per_device"].values():
        for key in ("without_checkpointing", "with_checkpointing"):
            need = each[key]
            state = sum(need[part] for part in ("parameters", "gradients", "optimizer", "ema"))
            working = need["working"] + need["inputs"]
            yield (
                f"  {each['layout']:<{width}}{'recomputing' if key[4] == '_' else '':<13}{_gb(state):>8}"
                f"{_gb(need['activations']):>13}{_gb(working):>9}{_gb(need['total']):>9}"
            )
    yield ""
    total, usable = chosen.memory.total / GB, document["device"]["usable_memory"]
    room = f"of {usable / GB:.3g} usable" if usable else "and the machine's memory is unknown"
    recompute = ", activations recomputed" if chosen.checkpointing else ""
    if chosen.fits:
        yield _row("layout", f"{chosen.layout}{recompute}: {total:.3g} GB {room}")
    else:
        yield _row("layout", f"none fits: the least is {chosen.layout}{recompute}, {total:.3g} GB {room}")
        yield _row("", "take more devices, a smaller clip or batch, or devices with more memory")
    yield _row(
        "time",
        f"{_seconds(chosen.step_seconds)} a step at {chosen.mfu:.0%} of {device.flops:.3g} FLOP/s, "
        f"{document['samples_per_second']:.3g} samples/s",
    )
    yield _row("", f"{document['days']:.3g} days for {document['steps']:,} steps")
    if document["stages"]:
        yield ""
        yield from _stage_table(document["stages"])
    for note in document["notes"]:
        yield f"  note: {note}"


def _stage_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        f"  {'the paper`s stage':<17}{'tokens':>8}{'GPUs':>6}{'TP/CP':>7}{'batch':>7}{'printed':>9}"
        f"{'lr':>7}{'steps':>8}{'samples':>10}{'printed':>9}{'GB':>6}{'days':>7}{'GPU-days':>10}"
    ).replace("`", "'")
    for row in rows:
        yield (
            f"  {row['stage']:<17}{row['tokens']:>8,}{row['devices']:>6}{row['tp']:>5}/{row['cp']}"
            f"{row['global_batch']:>7,}{row['printed_global_batch']:>9,}{_rate(row['learning_rate']):>7}"
            f"{row['iterations'] / 1e3:>7g}k"
            f"{_short(row['samples']):>10}{_short(row['printed_samples']):>9}"
            f"{_gb(row['memory_per_device']) + ('' if row['fits'] else '!'):>6}"
            f"{row['days']:>7.3g}{row['device_days']:>10,.0f}"
        )
    days = sum(row["device_days"] for row in rows)
    yield f"  {'sum':<17}{days:>{94},.0f}"


def _row(label: str, text: str) -> str:
    return f"  {label:<16}{text}"


def _bytes(need: Memory) -> dict[str, int]:
    return {**asdict(need), "total": need.total}


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _gb(value: float) -> str:
    return (
        f"{value / GB:.3f}"
        if value < 0.1 * GB
        else f"{value / GB:.1f}"
        if value < 1e3 * GB
        else f"{value / GB:,.0f}"
    )


def _short(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:g}"


def _rate(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
