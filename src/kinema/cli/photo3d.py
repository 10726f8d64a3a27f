"""`kinema photo3d`: a photo in, a small textured mesh out, and on request a page and a video that show it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.cli import making
from kinema.cli.depth import open_estimator
from kinema.cli.outputs import check_folder, check_output
from kinema.cli.shell import Device, Download, Json, Weights, print_json
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.media.photo import Photo
    from kinema.systems.photo_3d.mesh import TexturedMesh
    from kinema.systems.photo_3d.pipeline import Lifting

VIDEO_SIDE, FPS, SECONDS = 960, 30, 4


@dataclass
class Job:
    """One photo, what to write for it, and what became of it."""

    photo: Path
    glb: Path
    html: Path | None = None
    video: Path | None = None
    depth: Path | None = None
    opened: Photo | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from kinema.systems.photo_3d.pipeline import Stopwatch

        self.watch = Stopwatch()

    def open(self) -> Photo:
        """The photo's pixels and its field of view."""
        from kinema.media.photo import read_photo

        return read_photo(self.photo)

    def outputs(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.glb, self.html, self.video) if path is not None]


def photo3d(
    photo: Annotated[Path, typer.Argument(help="A photo, or a folder of photos.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The .glb to write (for a folder: a folder); default: beside PHOTO."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page that shows it, too (for a folder: a folder).")
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option("--video", help="Write a camera move as .mp4, too (for a folder: a folder)."),
    ] = None,
    path: Annotated[str, typer.Option("--path", help="The camera move: circle, dolly or swing.")] = "circle",
    depth: Annotated[
        Path | None,
        typer.Option(
            "--depth", help="Take depth from this file, as `kinema depth` writes it, not from a network."
        ),
    ] = None,
    colours: Annotated[
        str,
        typer.Option("--colours", help="How hidden surfaces get theirs: diffusion or network."),
    ] = "diffusion",
    triangles: Annotated[int, typer.Option("--triangles", help="At most so many triangles.")] = 20_000,
    size: Annotated[int, typer.Option("--size", help="At most so many bytes of .glb.")] = 1_000_000,
    weights: Weights = "nano",
    download: Download = False,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that are there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn a photo into a 3D photo: a small textured mesh with something behind its foreground.

    The .glb opens in Blender, three.js and other viewers of glTF. The page needs nothing but a browser. A photo is
    lifted at 1536 pixels on its longer side at most; its focal length is taken from EXIF, or 60 degrees are assumed.
    """
    from kinema.systems.photo_3d.mesh import MeshSettings
    from kinema.systems.photo_3d.paths import PATHS
    from kinema.systems.photo_3d.pipeline import Lifting

    if path not in PATHS:
        raise UserError(f"--path is '{path}' and must be {', '.join(PATHS[:-1])} or {PATHS[-1]}")
    if colours not in ("network", "diffusion"):
        raise UserError(f"--colours is '{colours}' and must be network or diffusion")
    how = Lifting(colours=colours, mesh=MeshSettings(triangles=triangles, size=size))  # type: ignore[arg-type]
    jobs = find_jobs(photo, output, html, video, depth)
    for job in jobs:
        check_outputs(job, overwrite)
    if not photo.is_dir():  # a wrong path answers before any network is loaded
        jobs[0].opened = jobs[0].watch("read", jobs[0].open)
    estimator = open_estimator(weights, device, download) if depth is None else None
    failed = dict[str, str]()
    counter = making.counter("photo ", len(jobs), shown=not as_json and len(jobs) > 1)
    for number, job in enumerate(jobs, 1):
        try:
            run(job, path, how, estimator, overwrite)
        except UserError as error:
            if len(jobs) == 1:
                raise
            failed[job.photo.name] = str(error)
        if counter is not None:
            counter(number)
    making.end_counter(counter)
    done = [job for job in jobs if job.photo.name not in failed]
    if as_json:
        print_json({"photos": [report(job) for job in done], "failed": failed})
    else:
        for job in done:
            print(sentence(job))
        for name, why in failed.items():
            print(f"left out {name}: {why}")
    if failed:
        raise typer.Exit(1 if done else 2)


def find_jobs(
    photo: Path, output: Path | None, html: Path | None, video: Path | None, depth: Path | None
) -> list[Job]:
    """One job for a photo, or one for each in a folder, sorted by name."""
    from kinema.media.photo import photos_in

    if not photo.is_dir():
        return [Job(photo, photo.with_suffix(".glb") if output is None else output, html, video, depth)]
    if depth is not None:
        raise UserError("--depth is for one photo and a folder was given: run it photo by photo")
    photos = photos_in(photo)
    names = [file.stem for file in photos]
    stems = [file.name if names.count(file.stem) > 1 else file.stem for file in photos]
    folder = photo if output is None else output
    return [
        Job(
            file,
            folder / f"{stem}.glb",
            html / f"{stem}.html" if html else None,
            video / f"{stem}.mp4" if video else None,
        )
        for file, stem in zip(photos, stems, strict=True)
    ]


def check_outputs(job: Job, overwrite: bool) -> None:
    """Refuse what could not be written in the end, before anything is computed."""
    check_output(job.glb, (".glb",), overwrite)
    for made, suffixes in ((job.html, (".html", ".htm")), (job.video, (".mp4",))):
        if made is not None:
            check_output(made, suffixes, overwrite)
            check_folder(made.parent)


def run(job: Job, path: str, how: Lifting, estimator: Any, overwrite: bool) -> None:
    """Lift one photo and write all that was asked for; the job keeps seconds and facts."""
    from kinema.media.depth import Depth
    from kinema.systems.photo_3d.camera import FIELD_OF_VIEW
    from kinema.systems.photo_3d.glb import glb_bytes
    from kinema.systems.photo_3d.pipeline import lift_photo

    watch = job.watch
    found = job.opened or watch("read", job.open)
    job.opened = None  # a folder's photos are not all kept
    depth = estimator if job.depth is None else Depth.read(job.depth)
    how = replace(how, field_of_view=found.field_of_view or FIELD_OF_VIEW)
    mesh = lift_photo(found.pixels, depth, how, None, watch)
    data = watch("write", glb_bytes, mesh)
    for made in job.outputs():
        made.parent.mkdir(parents=True, exist_ok=True)
    _write(job, mesh, data, path, overwrite)
    job.facts = {
        "width": mesh.camera.width,
        "height": mesh.camera.height,
        "field_of_view": round(mesh.camera.field_of_view, 2),
        "triangles": len(mesh.triangles),
        "vertices": len(mesh.positions),
        "bytes": len(data),
        "notes": list(found.notes),
    }


def _write(job: Job, mesh: TexturedMesh, data: bytes, path: str, overwrite: bool) -> None:
    from kinema.media.files import write_bytes
    from kinema.systems.photo_3d.page import write_page

    write_bytes(job.glb, data, overwrite)
    if job.html is not None:
        job.watch("page", write_page, data, job.html, job.photo.stem, overwrite)
    if job.video is not None:
        job.watch("video", write_video, mesh, job.video, path, overwrite)


def write_video(mesh: TexturedMesh, video: Path, path: str, overwrite: bool) -> None:
    """One round of a camera path as .mp4."""
    import math
    from dataclasses import replace

    import numpy as np

    from kinema.media import Video
    from kinema.systems.photo_3d.paths import camera_path
    from kinema.systems.photo_3d.rasterise import render
    from kinema.systems.photo_3d.viewing import OVERSCAN

    camera = mesh.camera
    scale = min(1.0, VIDEO_SIDE / max(camera.width, camera.height))
    size = (max(2, round(camera.height * scale / 2) * 2), max(2, round(camera.width * scale / 2) * 2))
    across = math.tan(math.radians(camera.field_of_view) / 2) / OVERSCAN
    closer = replace(camera, field_of_view=math.degrees(2 * math.atan(across)))
    positions = camera_path(path, FPS * SECONDS, mesh.view)
    frames = [render(mesh, closer, p, size, 2, mesh.view.still_depth)[0] for p in positions.tolist()]
    Video(np.stack(frames), FPS).write(video, overwrite=overwrite)


def report(job: Job) -> dict[str, Any]:
    """What there is to say of a finished photo, for programs."""
    return {
        "photo": str(job.photo),
        "files": [str(made) for made in job.outputs()],
        **job.facts,
        "seconds": {stage: round(seconds, 3) for stage, seconds in job.watch.seconds.items()},
    }


def sentence(job: Job) -> str:
    """What there is to say of a finished photo, for people."""
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in job.watch.seconds.items())
    facts = job.facts
    lines = [
        f"wrote {job.glb} ({facts['bytes'] / 1000:.0f} kB, {facts['triangles']} triangles, "
        f"{sum(job.watch.seconds.values()):.1f} s: {stages})"
    ]
    lines += [f"  note: {note}." for note in facts["notes"]]
    lines += [f"wrote {made}" for made in job.outputs()[1:]]
    return "\n".join(lines)
