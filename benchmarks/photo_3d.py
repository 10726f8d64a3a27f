"""How long a photo of 1152x1536 takes to become a .glb, stage by stage, the memory it takes, and what comes out.

    python benchmarks/photo_3d.py [--photo FILE] [--weights FILE] [--inpainting FILE] [--runs 7] [--threads 2] [--json]

The default photo is scikit-image's astronaut (512x512, NASA, public domain): 384 of its columns, enlarged three times.
Another one is cut to 3:4 or 4:3 around its middle and brought to that size with Lanczos' filter. It is then saved as
JPEG, so that reading is part of what is timed. Hidden colours are diffused, which is the default; the same with colours
by the network stands beside it. Times are the median (and the fastest) of the runs after one that is not counted, which
compiles what the machine has not compiled yet. Memory is the highest resident set in one run, with colours by the
network where there are weights, in a process of its own that hands freed memory back: absolute, and less what was
resident before it (Linux).
Depth networks: the nano one where this copy has it, and that of --weights.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import PIL.Image
import torch

from kinema import hub
from kinema.media.photo import read_photo
from kinema.systems.photo_3d.camera import FIELD_OF_VIEW
from kinema.systems.photo_3d.depth import NAME
from kinema.systems.photo_3d.glb import write_glb
from kinema.systems.photo_3d.inpainting import WEIGHTS, Farbrausch, load_inpainting
from kinema.systems.photo_3d.pipeline import Lifting, Stopwatch, lift_photo

from measuring import ALLOCATOR, begin_peak, machine, resident

LONG, SHORT = 1536, 1152
AIMS = {"seconds": 3.0, "peak_gib": 1.5, "bytes": 1_000_000}


def bring(photo: Path | None, to: Path) -> None:
    """Cut the photo to 3:4 (or 4:3), bring it to 1152x1536 and save it as JPEG."""
    if photo is None:
        import skimage.data

        picture = PIL.Image.fromarray(skimage.data.astronaut()).crop((64, 0, 448, 512))
    else:
        picture = PIL.Image.fromarray(read_photo(photo).pixels)
    size = (LONG, SHORT) if picture.width > picture.height else (SHORT, LONG)
    scale = min(picture.width / size[0], picture.height / size[1])
    width, height = round(size[0] * scale), round(size[1] * scale)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    picture = picture.crop((left, top, left + width, top + height))
    picture.resize(size, PIL.Image.Resampling.LANCZOS).save(to, quality=95)


class Keeping(Stopwatch):
    """A stopwatch that keeps what the stages gave."""

    def __call__(self, stage: str, function: Any, *arguments: object) -> Any:
        result = super().__call__(stage, function, *arguments)
        self.results[stage] = result
        return result

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, Any] = {}


def once(photo: Path, estimator: Any, network: Farbrausch | None, output: Path) -> dict[str, Any]:
    """The whole way, as `kinema photo3d` goes it: seconds of each stage, and what came out."""
    watch, began = Keeping(), time.perf_counter()
    opened = watch("read", read_photo, photo)
    how = Lifting(
        field_of_view=opened.field_of_view or FIELD_OF_VIEW, colours="network" if network else "diffusion"
    )
    mesh = lift_photo(opened.pixels, estimator, how, network, watch)
    watch("write", write_glb, mesh, output, True)
    stages = {"end to end": time.perf_counter() - began, **watch.seconds}
    stages |= {f"mesh: {name}": seconds for name, seconds in mesh.stages.items()}
    return {
        "stages": stages,
        "bytes": output.stat().st_size,
        "triangles": len(mesh.triangles),
        "hidden_pixels": int((~watch.results["layers"].known).sum()),
    }


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """One depth network, in this process: the times, or the memory."""
    torch.set_num_threads(job["threads"])
    estimator = hub.load(NAME, job["weights"])
    found = Path(job["inpainting"]) if job["inpainting"] else WEIGHTS
    network = load_inpainting(found) if found.is_file() else None
    photo, output = Path(job["photo"]), Path(job["photo"]).with_suffix(".glb")
    once(photo, estimator, None, output)
    if job["case"] == "memory":
        before = begin_peak()
        once(photo, estimator, network, output)
        peak = resident("VmHWM")
        return {"peak_gib": peak * 1e6 / 2**30, "above_gib": (peak - before) * 1e6 / 2**30}
    stages: dict[str, list[float]] = {}
    for run in range(job["runs"] + 1):
        coloured = once(photo, estimator, network, output)["stages"] if network is not None else {}
        result = once(photo, estimator, None, output)
        for name in ("colours", "end to end"):
            if name in coloured:
                result["stages"][f"{name}, by the network"] = coloured[name]
        for name, seconds in result.pop("stages").items():
            if run:
                stages.setdefault(name, []).append(seconds)
    result["seconds"] = {name: statistics.median(times) for name, times in stages.items()}
    result["fastest"] = {name: min(times) for name, times in stages.items()}
    result["load"] = os.getloadavg()[0]
    return result


def show(name: str, row: dict[str, Any]) -> None:
    """A table of one network."""
    print(f"{name}\n\n| stage | median, s | fastest, s |\n| --- | --- | --- |")
    for stage, seconds in row["seconds"].items():
        print(f"| {stage} | {seconds:.3f} | {row['fastest'][stage]:.3f} |")
    print(
        f"\n{row['hidden_pixels']:,} hidden pixels; {row['triangles']:,} triangles; {row['bytes']:,} bytes; highest "
        f"resident set {row['peak_gib']:.2f} GiB, {row['above_gib']:.2f} GiB above the loaded process; load average "
        f"at the end {row['load']:.1f}"
    )
    kept = [
        f"{aim:g} {what}: {'kept' if row['seconds']['end to end'] < aim else 'missed'}"
        if what == "seconds"
        else f"{aim:g} {what}: {'kept' if row[what] < aim else 'missed'}"
        for what, aim in AIMS.items()
    ]
    print(f"aims: {', '.join(kept)}\n")


def main() -> None:
    """Measure, print tables, and JSON on request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--weights", type=Path, help="a depth network, beside the nano one of this copy")
    parser.add_argument("--inpainting", type=Path, help="instead of the network of this copy")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(measure(json.loads(args.job))))
        return
    networks = ["nano"] if hub.find(NAME).nano_path is not None else []
    networks += [str(args.weights.resolve())] if args.weights else []
    if not networks:
        parser.error("there are no depth weights in this copy: give --weights FILE")
    inpainting = str(args.inpainting.resolve()) if args.inpainting else None
    print(f"{shlex.join(sys.argv)}\n{datetime.date.today()}, {machine()}, {args.threads} threads\n")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        bring(args.photo, photo)
        for weights in networks:
            row: dict[str, Any] = {}
            for case in ("time", "memory"):
                job = {
                    "case": case,
                    "photo": str(photo),
                    "weights": weights,
                    "inpainting": inpainting,
                    "runs": args.runs,
                    "threads": args.threads,
                }
                environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
                done = subprocess.run(
                    [sys.executable, __file__, "--job", json.dumps(job)],
                    env=environment | (ALLOCATOR if case == "memory" else {}),
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                row |= json.loads(done.stdout.splitlines()[-1])
            rows[Path(weights).name] = row
            show(Path(weights).name, row)
    if args.json:
        print(json.dumps({"photo": str(args.photo or "astronaut"), "rows": rows}))


if __name__ == "__main__":
    main()
