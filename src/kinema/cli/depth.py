"""`kinema depth`: a photo, or a folder of them, into maps of disparity that say what their numbers are."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from kinema.cli import making
from kinema.cli.outputs import check_folder, check_output
from kinema.cli.shell import FAILED, Device, Download, Json, Weights, print_json
from kinema.errors import UserError

NAME: Final = "photo-3d-depth-nano"
FORMATS: Final = {"png": ".png", "exr": ".exr", "npy": ".npy", "preview": ".png"}


@dataclass(frozen=True)
class Job:
    """A photo and where its depth goes."""

    photo: Path
    output: Path


def depth(
    photo: Annotated[
        Path | None, typer.Argument(help="A photo, or a folder of photos.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write, for a folder the folder; default: PHOTO with _depth in its name.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="png (16 bits), exr or npy (floats), preview (coloured PNG); default: by the output's name, else png.",
        ),
    ] = None,
    small: Annotated[
        bool,
        typer.Option(
            "--small", help="Leave it as small as the network saw it, not brought to the photo's edges."
        ),
    ] = False,
    weights: Weights = "nano",
    download: Download = False,
    device: Device = "auto",
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="Write the network itself as .onnx, for other programs; no photo is read."
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="With --export: in eight bits, where the network was trained for them."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read the depth of photos.

    The numbers are relative disparity: large is near, and the scale is unknown. Kind, unit and sign stand in the file.
    Photos have 16 pixels or more on each side and 100 million at most.
    """
    if export is not None:
        if photo is not None:
            raise UserError("--export writes the network and reads no photo: leave the photo out")
        write_network(export, weights, download, int8=int8, overwrite=overwrite, as_json=as_json)
        return
    if int8:
        raise UserError("--int8 says how --export writes the network: give --export FILE.onnx with it")
    if photo is None:
        raise UserError("there is no photo: name one, or a folder of photos")
    jobs = plan_jobs(photo, output, form, overwrite)
    preview = form == "preview"
    check_files(jobs, photo)
    estimator = open_estimator(weights, device, download)
    on_step = making.counter("photo ", len(jobs), shown=not as_json and len(jobs) > 1)
    made: list[dict[str, Any]] = []
    failed: list[str] = []
    for number, job in enumerate(jobs, 1):
        if on_step is not None:
            on_step(number)
        try:
            made.append(estimate_one(estimator, job, small=small, preview=preview, overwrite=overwrite))
        except UserError as error:
            if len(jobs) == 1:
                raise
            failed.append(" ".join(str(error).split()))
    making.end_counter(on_step)
    if as_json:
        print_json({"made": made, "failed": failed})
    else:
        for one in made:
            notes = f"; {', '.join(one['notes'])}" if one["notes"] else ""
            print(f"wrote {one['file']} ({one['width']}x{one['height']}, {one['seconds']:.1f} s{notes})")
        for sentence in failed:
            print(f"kinema: {sentence}", file=sys.stderr)
    if failed:
        raise typer.Exit(FAILED)


def plan_jobs(photo: Path, output: Path | None, form: str | None, overwrite: bool) -> list[Job]:
    """Which file becomes which, every output checked before anything heavy starts."""
    from kinema.media.photo import photos_in

    if form is not None and form not in FORMATS:
        raise UserError(f"--format is '{form}' and must be {', '.join(FORMATS)}")
    photos = photos_in(photo)
    if not photo.is_dir():
        suffixes = tuple(FORMATS.values()) if form is None else (FORMATS[form],)
        target = output or photo.with_name(f"{photo.stem}_depth{FORMATS[form or 'png']}")
        check_output(target, suffixes, overwrite)
        if target.exists() and photo.exists() and target.samefile(photo):
            raise UserError(f"'{target}' is the photo itself: choose another name for its depth")
        return [Job(photo, target)]
    folder = output or photo.with_name(f"{photo.resolve().name}_depth")
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"'{folder}' is a file, and the depth of a folder's photos goes into a folder: name another"
        )
    if folder.exists() and folder.samefile(photo):
        raise UserError("the depth would stand among the photos: name another folder with -o")
    check_folder(folder)
    stems = [one.stem for one in photos]
    jobs = []
    for one in photos:  # two photos of one name but for the ending keep it
        stem = one.stem if stems.count(one.stem) == 1 else one.name.replace(".", "_")
        jobs.append(Job(one, folder / f"{stem}_depth{FORMATS[form or 'png']}"))
    for job in jobs:
        check_output(job.output, (job.output.suffix,), overwrite)
    return jobs


def check_files(jobs: list[Job], photo: Path) -> None:
    """Open a single photo before the model: a wrong path answers at once. Those of a folder are met one by one."""
    from kinema.media.photo import read_photo

    if not photo.is_dir():
        read_photo(jobs[0].photo)


def open_estimator(weights: str, device: str, download: bool = False) -> Any:
    """Load the depth network. Tests put a tiny one here."""
    from kinema import hub

    if download and weights != "official":
        raise UserError("--download fetches the published weights: give --weights official with it")
    return hub.load(NAME, weights, device, download)


def write_network(
    path: Path, weights: str, download: bool, *, int8: bool, overwrite: bool, as_json: bool
) -> None:
    """Write the depth network as ONNX."""
    from kinema.systems.photo_3d.depth import DepthEstimator
    from kinema.systems.photo_3d.export import export_onnx

    check_output(path, (".onnx",), overwrite)
    estimator: DepthEstimator = open_estimator(weights, "cpu", download)
    export_onnx(estimator.network, path, "int8" if int8 else "float", estimator.long_side, overwrite)
    size = path.stat().st_size
    if as_json:
        print_json({"file": str(path), "bytes": size, "arithmetic": "int8" if int8 else "float"})
    else:
        print(f"wrote {path} ({size:,} bytes; photo in, disparity out: what they are stands in its metadata)")


def estimate_one(estimator: Any, job: Job, *, small: bool, preview: bool, overwrite: bool) -> dict[str, Any]:
    """Read, estimate, write; what is to be told of it."""
    from kinema.media import Image
    from kinema.media.colours import coloured
    from kinema.media.photo import read_photo

    photo = read_photo(job.photo)
    began = time.perf_counter()
    found = estimator.estimate(photo.pixels, size="network" if small else "photo")
    seconds = time.perf_counter() - began
    job.output.parent.mkdir(parents=True, exist_ok=True)
    if preview:
        Image(coloured(found.normalised()), found.metadata).write(job.output, overwrite=overwrite)
    else:
        found.write(job.output, overwrite=overwrite)
    facts = {name: value for name, value in found.told().items() if name != "intrinsics"}
    return {
        "photo": str(job.photo),
        "file": str(job.output),
        "height": found.height,
        "width": found.width,
        "seconds": round(seconds, 2),
        "notes": list(photo.notes),
        **facts,
    }
