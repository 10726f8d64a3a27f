"""`kinema upsample`: a clip in, a larger clip out; and the same step behind `kinema generate --upsample`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema import __version__
from kinema.cli import making
from kinema.cli.outputs import VIDEO_SUFFIXES, check_output
from kinema.cli.prompts import check_number
from kinema.cli.shell import Device, Json, Weights, print_json
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.media import Video

NAME = "movie-gen-upsampler-nano"
RECORD = "upsampled"  # the setting of a clip's provenance that says how it was made larger


def upsample(
    clip: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; default: CLIP with _large in its name."),
    ] = None,
    height: Annotated[int | None, typer.Option("--height", help="Rows; default: twice the clip's.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Columns; default: in proportion.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Solver steps; default: the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    weights: Weights = "nano",
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a clip larger with a generative model.

    Rate and sound stay, and so does what the file says of how it was made. The result has at most 1024 rows and
    columns, and 67 million pixels over all frames (256 frames of 512x512).
    """
    from kinema.media import Video
    from kinema.systems.movie_gen.upsampler.pipeline import target_size

    if output is None:
        output = clip.parent / f"{clip.stem}_large.mp4"
    check_output(output, VIDEO_SUFFIXES, overwrite)
    if output.exists() and clip.exists() and output.samefile(clip):
        raise UserError(f"'{output}' is the clip itself: choose another name for the larger one")
    check_number("seed", seed)
    if seed < 0:
        raise UserError(f"--seed is {seed} and must be 0 or more")
    for setting, value in (("steps", steps), ("height", height), ("width", width)):
        if value is not None:
            check_number(setting, value)
    video = Video.read(clip)
    if video.sound is not None and output.suffix.lower() != ".mp4":
        raise UserError(f"'{clip}' has sound and '{output}' cannot hold it: name an .mp4")
    target_size(video.frames.shape, height, width)
    opened = open_upsampler(weights, device)
    on_step = making.counter("step ", steps, shown=not as_json)
    began = time.perf_counter()
    large = enlarge(opened, video, seed=seed, height=height, width=width, steps=steps, on_step=on_step)
    seconds = time.perf_counter() - began
    making.end_counter(on_step)
    making.write(large, output, overwrite=overwrite)
    count, rows, columns = map(int, large.frames.shape[:3])
    if as_json:
        facts = {"num_frames": count, "height": rows, "width": columns, "fps": large.fps}
        print_json({"clip": str(clip), "file": str(output), **facts, "seconds": round(seconds, 2)})
    else:
        print(f"wrote {output} ({count} frames of {columns}x{rows}, {seconds:.1f} s)")


def open_upsampler(weights: str, device: str) -> making.Opened:
    """The upsampler."""
    return making.open_for_clips(NAME, weights, device)


def enlarge(
    model: making.Opened,
    video: Video,
    *,
    seed: int,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    on_step: Callable[..., None] | None = None,
) -> Video:
    """A larger clip whose provenance says what the smaller one's did, and how it was made larger."""
    import torch

    from kinema.media import Provenance
    from kinema.media.provenance import provenance_in
    from kinema.systems.movie_gen.upsampler.pipeline import STEPS

    large: Video = model.pipeline.upsample(
        video, height=height, width=width, seed=seed, steps=steps, on_step=on_step
    )
    record = {
        "model": NAME,
        "weights": model.weights,
        "weights_hash": model.weights_hash,
        "version": __version__,
        "seed": seed,
        "steps": STEPS if steps is None else steps,
        "height": int(large.frames.shape[1]),
        "width": int(large.frames.shape[2]),
        "threads": torch.get_num_threads(),
    }
    known = provenance_in(video.metadata)
    if known is None:
        known = Provenance(model=NAME, weights_hash=model.weights_hash, version=__version__)
    told = replace(known, settings={**known.settings, RECORD: record})
    return replace(large, metadata={**large.metadata, "kinema": told})


def enlarged(model: making.Opened, made: making.Made, seed: int) -> making.Made:
    """What `generate` made, twice as large."""
    began = time.perf_counter()
    video = enlarge(model, made.video, seed=seed)
    return replace(made, video=video, seconds=made.seconds + time.perf_counter() - began)


def enlarge_again(record: object, video: Video, device: str) -> Video:
    """Repeat what a provenance's record says; it may come from anybody, so it is checked like typed words."""
    if not isinstance(record, Mapping):
        raise UserError(f"the clip's record of its upsampling is {record!r}: expected a table")
    weights = record.get("weights", "nano")
    if record.get("model") != NAME or weights not in ("nano", "official"):
        raise UserError(
            "the clip was made larger by a model that is not in this kinema, so it cannot be made again"
        )
    numbers = {name: record.get(name) for name in ("seed", "height", "width", "steps")}
    for name, number in numbers.items():
        if type(number) is not int or number < 0:
            raise UserError(
                f"the clip's record of its upsampling has {name}={number!r}: expected a whole number"
            )
    model = open_upsampler(weights, device)
    if model.weights_hash != record.get("weights_hash"):
        raise UserError(
            f"the clip was made larger with the weights {record.get('weights_hash')} and these are {model.weights_hash}"
        )
    return enlarge(model, video, **numbers)  # type: ignore[arg-type]  # whole numbers, checked above
