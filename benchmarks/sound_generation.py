"""How long nano's sound takes to make, and the memory it takes, by the length of the clip.

    python benchmarks/sound_generation.py [--seconds 8 10 60 300] [--threads 2] [--weights FILE]

Each length runs in a process of its own, from words and from a clip of 16 frames a second, at the default settings.
Time is of the second call where it takes less than a minute, else of the first. Memory is the highest resident set
while making sound, less that before it; the sound itself is part of it and stands beside (Linux). Without --weights the
nano weights of this copy are taken, or untrained ones of the same sizes: they change nothing in time and memory.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.media import Video
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio, load

from measuring import ALLOCATOR, begin_peak, machine, resident

FPS, SIZE = 16, 64
MINUTE = 60.0


def model(weights: Path | None) -> MovieGenAudio:
    """The pipeline, trained or not."""
    if weights is None:
        found = resources.files("kinema.systems.movie_gen.audio").joinpath("nano.safetensors")
        weights = Path(str(found)) if found.is_file() else None
    if weights is not None:
        return load(weights)
    from kinema.systems.movie_gen.audio.recipe import new_parts

    return MovieGenAudio(new_parts())


def measure(seconds: float, given: str, threads: int, weights: Path | None) -> dict[str, Any]:
    """One case, in this process."""
    torch.set_num_threads(threads)
    pipeline = model(weights)
    frames = np.random.default_rng(0).integers(0, 256, (round(seconds * FPS), SIZE, SIZE, 3), dtype=np.uint8)
    video = Video(frames, float(FPS)) if given == "video" else None

    def make() -> Any:
        return pipeline.generate(["metal impacts over waves"], seconds=seconds, seeds=[0], videos=[video])[0]

    pipeline.generate(["waves"], seconds=0.2, seeds=[0], steps=1)  # what is loaded at the first call
    before = begin_peak()
    begun = time.perf_counter()
    sound = make()
    took = time.perf_counter() - begun
    peak = resident("VmHWM") - before
    if took < MINUTE:
        begun = time.perf_counter()
        make()
        took = time.perf_counter() - begun
    return {
        "given": given,
        "seconds": seconds,
        "took_s": took,
        "times_real_time": seconds / took,
        "peak_mb": peak,
        "sound_mb": sound.samples.nbytes / 1e6,
    }


def main() -> None:
    """Measure and print the table and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[8.0, 10.0, 60.0, 300.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        given, _, seconds = args.case.partition(":")
        print(json.dumps(measure(float(seconds), given, args.threads, args.weights)))
        return
    rows = []
    for given in ("words", "video"):
        for seconds in args.seconds:
            command = [sys.executable, *sys.argv, "--case", f"{given}:{seconds}"]
            done = subprocess.run(
                command, env=os.environ | ALLOCATOR, stdout=subprocess.PIPE, text=True, check=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{shlex.join(sys.argv)}\n{datetime.date.today()}, {machine()}, {args.threads} threads\n")
    print("| given | sound | took | x real time | memory | the sound itself |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['given']} | {row['seconds']:g} s | {row['took_s']:.1f} s | {row['times_real_time']:.2f} |"
            f" {row['peak_mb']:.0f} MB | {row['sound_mb']:.0f} MB |"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
