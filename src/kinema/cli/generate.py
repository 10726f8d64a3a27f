"""`kinema generate`: prompts in, video files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kinema.cli import making
from kinema.cli.outputs import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    check_folder,
    check_output,
    clip_names,
    default_folder,
)
from kinema.cli.prompts import RANDOM_SEED, Request, check_request, read_prompts_file, spread
from kinema.cli.shell import Device, Json, Weights, print_json
from kinema.cli.sounding import open_sound_for, sounding
from kinema.cli.upsample import enlarged, open_upsampler
from kinema.errors import UserError

Path_ = Path | None


def generate(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="What to show, one clip each.", show_default=False)
    ] = None,
    output: Annotated[
        Path_, typer.Option("--output", "-o", help="The file to write, for a single clip.")
    ] = None,
    output_dir: Annotated[
        Path_,
        typer.Option("--output-dir", help="The folder to write into; default outputs/<date>/<time>_<model>."),
    ] = None,
    prompts_file: Annotated[
        Path_,
        typer.Option(
            "--prompts-file", help="Prompts from .txt (one a line), .csv or .jsonl (prompt, seed, ...)."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="-1 draws one for each clip and records it.")
    ] = RANDOM_SEED,
    num_samples: Annotated[
        int, typer.Option("--num-samples", help="Clips per prompt: seed, seed+1, ...")
    ] = 1,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Solver steps; default: the model's own.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance-scale", help="How hard the prompt pulls; 1 is no guidance.")
    ] = None,
    height: Annotated[int | None, typer.Option("--height", help="Rows of pixels.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Columns of pixels.")] = None,
    num_frames: Annotated[int | None, typer.Option("--num-frames", help="Frames per clip.")] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames per second.")] = None,
    best_of: Annotated[
        int,
        typer.Option(
            "--best-of",
            help="Make so many clips a prompt (seed, seed+1, ...) and keep the one judges prefer.",
        ),
    ] = 1,
    upsample: Annotated[
        bool,
        typer.Option("--upsample", help="Make each clip twice as large; experimental, see `upsample`."),
    ] = False,
    no_sound: Annotated[
        bool,
        typer.Option("--no-sound", help="Leave the clips silent. With sound is .mp4 alone; see `sound`."),
    ] = False,
    negative_prompt: Annotated[str, typer.Option("--negative-prompt", help="What to keep away from.")] = "",
    model: Annotated[
        str, typer.Option("--model", help="A name from `kinema models`.")
    ] = "movie-gen-video-nano",
    weights: Weights = "nano",
    device: Device = "auto",
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Compile the model first: pays off over several clips, or long ones."),
    ] = False,
    offload: Annotated[
        str | None,
        typer.Option(
            "--offload", help="Where blocks stay while they do not run, for large weights: cpu or file."
        ),
    ] = None,
    cache: Annotated[
        float | None,
        typer.Option(
            "--cache", help="Reuse blocks in steps that differ less than this, such as 0.1; changes the clip."
        ),
    ] = None,
    measure_cache: Annotated[
        bool,
        typer.Option(
            "--measure-cache",
            help="Also make each clip without the cache, and say how far the latents are apart.",
        ),
    ] = False,
    contact_sheet: Annotated[
        Path_, typer.Option("--contact-sheet", help="Also write all clips as film strips into one .png.")
    ] = None,
    no_metadata: Annotated[
        bool,
        typer.Option(
            "--no-metadata", help="Leave out prompt, seed and settings; such a file cannot be rerun."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make video clips from text, with sound where the model of the sound is there.

    A clip carries its prompt, seed and settings inside the file, so that `kinema rerun` can make it again.
    """
    defaults = Request(
        prompt="",
        seed=seed,
        negative_prompt=negative_prompt,
        steps=steps,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        num_frames=num_frames,
        fps=fps,
    )
    # Everything that can be wrong with what was typed is found here, before any weight is read.
    requests = spread(_requests(prompts or [], prompts_file, defaults), num_samples)
    paths = _paths(requests, output, output_dir, model, overwrite)
    sidecars = [] if no_metadata or output else [path.with_suffix(".json") for path in paths]
    for path in sidecars:
        check_output(path, (".json",), overwrite)
    if contact_sheet is not None:
        check_output(contact_sheet, IMAGE_SUFFIXES, overwrite)
    options = making.check_options(
        model, compile=compile_, offload=offload, cache=cache, measure_cache=measure_cache
    )
    chooser = making.find_chooser(model, best_of)
    opened = making.open_model(model, weights, device, **options)
    upsampler = open_upsampler("nano", device) if upsample else None
    can_hold = [path.suffix.lower() == ".mp4" for path in paths]
    listener = open_sound_for(model, device) if any(can_hold) and not no_sound else None

    results: list[dict[str, Any]] = []
    videos = []
    for number, (request, path) in enumerate(zip(requests, paths, strict=True)):
        label = f"clip {number + 1} of {len(requests)}, " if len(requests) > 1 else ""
        on_step = making.counter(f"{label}step ", request.steps, shown=not as_json)
        if chooser is None:
            made = making.make(opened, request, on_step)
        else:
            request, made = making.make_best(opened, request, best_of, chooser, on_step)
        if listener is not None and can_hold[number]:
            made = sounding(listener, made, request)
        if upsampler is not None:
            made = enlarged(upsampler, made, request.seed)
        making.end_counter(on_step)
        making.write(made.video, path, overwrite=overwrite, metadata=not no_metadata)
        result = _result(request, path, made)
        if sidecars:
            provenance = json.loads(made.video.metadata["kinema"].to_json())
            text = json.dumps(
                {**provenance, "notices": made.notices, "prompt_used": made.prompt_used}, indent=2
            )
            sidecars[number].write_text(text + "\n", encoding="utf-8")
        results.append(result)
        if contact_sheet is not None:
            videos.append(made.video)
        if not as_json:
            _report(result, made)
    if contact_sheet is not None:
        from kinema.media import contact_sheet as draw

        contact_sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet = draw(videos, [request.prompt for request in requests], columns=1 if len(videos) < 4 else 2)
        sheet.write(contact_sheet, overwrite=overwrite)
        if not as_json:
            print(f"wrote {contact_sheet}")
    if as_json:
        print_json({"clips": results, "contact_sheet": str(contact_sheet) if contact_sheet else None})


def _requests(prompts: list[str], prompts_file: Path | None, defaults: Request) -> list[Request]:
    if prompts and prompts_file:
        raise UserError("prompts came both on the command line and with --prompts-file: use one of the two")
    if prompts_file is not None:
        check_request(Request(**{**vars(defaults), "prompt": "."}))  # the flags themselves, before any row
        return read_prompts_file(prompts_file, defaults)
    if not prompts:
        raise UserError('no prompt was given: write it in quotes, for example kinema generate "a red fox"')
    return [check_request(Request(**{**vars(defaults), "prompt": prompt})) for prompt in prompts]


def _paths(
    requests: list[Request], output: Path | None, output_dir: Path | None, model: str, overwrite: bool
) -> list[Path]:
    if output is not None and output_dir is not None:
        raise UserError(
            "both -o and --output-dir were given: -o names one file, --output-dir a folder for many"
        )
    if output is not None:
        if len(requests) != 1:
            raise UserError(f"-o names one file and {len(requests)} clips were asked for: use --output-dir")
        return [check_output(output, VIDEO_SUFFIXES, overwrite)]
    folder = output_dir or default_folder(model)
    check_folder(folder)
    return [check_output(folder / name, VIDEO_SUFFIXES, overwrite) for name in clip_names(requests)]


def _result(request: Request, path: Path, made: making.Made) -> dict[str, Any]:
    frames = made.video.frames
    return {
        "file": str(path),
        "prompt": request.prompt,
        "prompt_used": made.prompt_used,
        "seed": request.seed,
        "num_frames": int(frames.shape[0]),
        "height": int(frames.shape[1]),
        "width": int(frames.shape[2]),
        "fps": made.video.fps,
        "sound_seconds": None if made.video.sound is None else round(made.video.sound.seconds, 3),
        "seconds": round(made.seconds, 2),
        "notices": made.notices,
    }


def _report(result: dict[str, Any], made: making.Made) -> None:
    size = f"{result['num_frames']} frames of {result['width']}x{result['height']}"
    size += "" if made.video.sound is None else " with sound"
    print(f"wrote {result['file']} ({size}, seed {result['seed']}, {made.seconds:.1f} s)", flush=True)
    for notice in made.notices:
        print(f"  note: {notice}", flush=True)
