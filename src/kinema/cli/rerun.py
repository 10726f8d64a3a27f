"""`kinema rerun`: make a file again from what it carries inside, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema import __version__
from kinema.cli import making, sounding
from kinema.cli.outputs import VIDEO_SUFFIXES, check_output
from kinema.cli.prompts import Request, check_request, request_from_row
from kinema.cli.shell import FAILED, Device, Json, print_json
from kinema.cli.upsample import RECORD, enlarge_again
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.media import Provenance, Video

_ASKED = ("negative_prompt", "steps", "guidance_scale", "height", "width", "num_frames", "fps")


def rerun(
    file: Annotated[Path, typer.Argument(help="A clip that kinema made.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write it; default: FILE with _rerun in its name."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="The weight file it was made with, when that was a file of yours."),
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a clip again from what it carries inside.

    The decoded frames of both files, and the sound that was made with them, are then compared; the exit code is 0 when
    they are equal, bit for bit, and 1 when they are not.
    """
    from kinema.media import Video, read_provenance

    provenance = read_provenance(file)
    if provenance is None:
        raise UserError(
            f"'{file}' does not say how it was made: kinema did not make it, or made it with --no-metadata"
        )
    request = request_from(provenance, file)
    path = check_output(
        output or file.with_name(f"{file.stem}_rerun{file.suffix}"), VIDEO_SUFFIXES, overwrite
    )
    if path.exists() and path.samefile(file):
        raise UserError(f"'{path}' is the clip itself: choose another name for the new one")
    original = Video.read(file)
    threshold = provenance.settings.get("cache")
    options = making.check_options(
        provenance.model,
        compile=provenance.settings.get("compile") is True,
        cache=threshold if isinstance(threshold, float) else None,
    )
    model = making.open_model(provenance.model, _weights(provenance, weights, file), device, **options)
    if model.weights_hash != provenance.weights_hash:
        raise UserError(
            f"'{file}' was made with the weights {provenance.weights_hash} and these are {model.weights_hash}: "
            "name the right file with --weights"
        )
    _use_threads(provenance.settings.get("threads"))

    on_step = making.counter("step ", request.steps, shown=not as_json)
    made = making.make(model, request, on_step)
    making.end_counter(on_step)
    video = made.video
    heard = provenance.settings.get(sounding.RECORD)
    afterwards = isinstance(heard, Mapping) and heard.get("to") == "file"
    if heard and not afterwards:
        video = sounding.sounding_again(heard, video, device)
    if enlarged := provenance.settings.get(RECORD):
        video = enlarge_again(enlarged, video, device)
    making.write(video, path, overwrite=overwrite)
    again = Video.read(path)
    result = compare(original, again)
    if heard and not afterwards:
        result["sound_equal"] = same_sound(original, again)
    same = result["equal"] and result.get("sound_equal", True)
    if provenance.version != __version__:
        result["notice"] = f"the file was made by kinema {provenance.version}, and this is {__version__}"
    elif afterwards:
        result["notice"] = (
            "its sound was put under the finished file and is not made again; see `kinema sound`"
        )
    if as_json:
        print_json({"file": str(file), "rerun": str(path), **result})
    else:
        _report(file, path, result)
    if not same:
        raise typer.Exit(FAILED)


def request_from(provenance: Provenance, file: Path) -> Request:
    """The request behind a file. Its contents may come from anybody, so they are checked like typed ones."""
    where = f" inside '{file}'"
    row: dict[str, Any] = {"prompt": provenance.prompt}
    row.update(
        {name: provenance.settings[name] for name in _ASKED if provenance.settings.get(name) is not None}
    )
    if provenance.seed is None or provenance.seed < 0:
        raise UserError(f"'{file}' does not record its seed, so it cannot be made again")
    return check_request(request_from_row(row, Request(prompt="", seed=provenance.seed), where), where)


def compare(one: Video, other: Video) -> dict[str, Any]:
    """Hold decoded frames against each other: whether they are equal, and by how much they differ if not."""
    import numpy as np

    facts: dict[str, Any] = {"equal": False, "frames": int(one.frames.shape[0]), "largest_difference": None}
    if one.frames.shape != other.frames.shape:
        facts["shapes"] = [list(map(int, one.frames.shape)), list(map(int, other.frames.shape))]
        return facts
    difference = np.abs(one.frames.astype(np.int16) - other.frames.astype(np.int16))
    facts["equal"] = not difference.any()
    facts["largest_difference"] = int(difference.max())
    facts["share_of_values_that_differ"] = float((difference > 0).mean())
    return facts


def same_sound(one: Video, other: Video) -> bool:
    """Whether the decoded sound of both clips is equal, bit for bit."""
    import numpy as np

    if one.sound is None or other.sound is None:
        return one.sound is other.sound
    return one.sound.rate == other.sound.rate and np.array_equal(one.sound.samples, other.sound.samples)


def _weights(provenance: Provenance, given: str | None, file: Path) -> str:
    if given is not None:
        return given
    recorded = provenance.settings.get("weights", "nano")
    if recorded not in ("nano", "official"):
        raise UserError(
            f"'{file}' was made with a weight file of somebody's own (hash {provenance.weights_hash}): "
            "name that file with --weights"
        )
    return str(recorded)


def _use_threads(recorded: object) -> None:
    # The number of threads decides how sums are split, and so their last bits.
    if isinstance(recorded, int) and 1 <= recorded <= 1024:
        import torch

        torch.set_num_threads(recorded)


def _report(file: Path, path: Path, result: Mapping[str, Any]) -> None:
    print(f"wrote {path}")
    if result["equal"]:
        print(f"the decoded frames of both files are equal, bit for bit ({result['frames']} frames)")
    elif "shapes" in result:
        print(
            f"the clips differ in size: {result['shapes'][0]} and {result['shapes'][1]} (frames, rows, columns, 3)"
        )
    else:
        share = result["share_of_values_that_differ"]
        print(
            f"the decoded frames differ in {share:.2%} of their values, by {result['largest_difference']} of 255 at "
            f"most: '{file}' was changed since, or made on another processor or with other versions"
        )
    if "sound_equal" in result:
        print(f"  sound: {'equal, bit for bit' if result['sound_equal'] else 'not equal'}")
    if "notice" in result:
        print(f"  note: {result['notice']}")
