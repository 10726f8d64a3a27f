"""Memory that decoding takes, by the length of the clip: kinema's codecs, and diffusers' AutoencoderKLWan beside.

    python benchmarks/decode_memory.py [--seconds 1 16] [--size 256] [--wan-width 32] [--tae-width 32] [--only NAME ...]

Each case runs in a process of its own, with random weights and the latent ready. Measured is the highest resident set
while decoding, less that before it (Linux). "stream" hands each piece over as uint8 and lets it go, which is what
writing a file needs; "whole" gives the clip back as one float32 tensor, whose own size stands beside it. The temporal
autoencoder decodes in tiles of 32 frames as published, which a clip of 1 s does not fill: the rows with tiles of 16
compare like with like. Widths are those of the finest level; published are 128 (temporal autoencoder) and 96 (Wan).
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from kinema.codecs import (
    ImageVAEConfig,
    TAEConfig,
    TemporalAutoencoder,
    Tiling,
    WanVAE,
    WanVAEConfig,
    decode_stream,
    decode_tiled,
)

CASES = {
    "tae-stream-16": "kinema TAE, stream, tiles of 16 frames",
    "tae-stream-32": "kinema TAE, stream, tiles of 32 frames",
    "tae-whole-16": "kinema TAE, whole, tiles of 16 frames",
    "wan-stream": "kinema WanVAE, stream",
    "wan-whole": "kinema WanVAE, whole",
    "wan-stream-tiled": "kinema WanVAE, stream, tiles of half the size in space",
    "diffusers-whole": "diffusers AutoencoderKLWan, whole",
    "diffusers-whole-tiled": "diffusers AutoencoderKLWan, whole, tiles of half the size in space",
}
# Freed memory goes back to the system at once, so that the resident set is what is held.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (highest) of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}: this benchmark needs Linux")


def drain(pieces: Iterator[Tensor]) -> int:
    """Take each piece as uint8 and forget it; the number of frames."""
    frames = 0
    for piece in pieces:
        frames += ((piece + 1) * 127.5).to(torch.uint8).shape[2]
    return frames


def prepare(case: str, args: argparse.Namespace) -> tuple[Callable[[], int], int]:
    """What decodes the case and gives its frames, and how many there should be."""
    frames, side = round(args.seconds[0] * args.fps), args.size // 8
    half = max(64, args.size // 2)
    if case.startswith("tae"):
        tile = int(case.rsplit("-", 1)[1])
        image = ImageVAEConfig(
            latent_channels=16, base_channels=args.tae_width, multipliers=(1, 2, 4, 4),
            encoder_blocks=(2,) * 4, decoder_blocks=(3,) * 4, norm_groups=min(32, args.tae_width),
        )  # fmt: skip
        tae = TemporalAutoencoder(TAEConfig(image=image, temporal_strides=(2, 2, 2))).eval()
        tae.encoder = torch.nn.Identity()  # type: ignore[assignment]  # only decoding is measured
        latent = torch.randn(1, 16, tae.spec.latent_frames(frames), side, side)
        tiling = Tiling(frames=tile, frame_overlap=tile // 2)
        if "stream" in case:
            return lambda: drain(decode_stream(tae, latent, frames, tiling)), frames
        return lambda: decode_tiled(tae, latent, frames, tiling).shape[2], frames
    frames += 1  # a causal codec has the first frame by itself
    latent = torch.randn(1, 16, 1 + (frames - 1) // 4, side, side)
    if case.startswith("wan"):
        vae = WanVAE(WanVAEConfig(base_channels=args.wan_width)).eval()
        tiling = Tiling(
            frames=4, frame_overlap=0, size=half if "tiled" in case else None, overlap=half // 4 // 8 * 8
        )
        if "stream" in case:
            return lambda: drain(decode_stream(vae, latent, frames, tiling)), frames
        return lambda: decode_tiled(vae, latent, frames, tiling).shape[2], frames
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.parity import shim_torchvision

    shim_torchvision()  # a torchvision that does not load keeps diffusers from loading
    from diffusers import AutoencoderKLWan

    theirs = AutoencoderKLWan(base_dim=args.wan_width).eval()
    if "tiled" in case:
        theirs.enable_tiling(half, half, half * 3 // 4, half * 3 // 4)

    def run() -> int:
        out: Tensor = theirs.decode(latent).sample
        return out.shape[2]

    return run, frames


@torch.inference_mode()
def measure(case: str, args: argparse.Namespace) -> dict[str, float]:
    """Decode once in this process."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    run, frames = prepare(case, args)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set starts anew from here
    before, begun = resident("VmRSS"), time.perf_counter()
    made = run()
    seconds = time.perf_counter() - begun
    if made != frames:
        raise RuntimeError(f"{case} made {made} frames and should have made {frames}")
    output = frames * 3 * args.size**2 * 4 / 1e6 if "whole" in case else 0.0
    return {"peak_mb": resident("VmHWM") - before, "output_mb": output, "wall_s": seconds}


def machine() -> str:
    """Processor, cores and versions, in a line."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].split(":")[1].strip() if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}"


def main() -> None:
    """Measure every case in a process of its own and print the table and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[1.0, 16.0], help="the first is compared to"
    )
    parser.add_argument("--fps", type=float, default=16.0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--wan-width", type=int, default=32)
    parser.add_argument("--tae-width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)  # one, in this process
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args)))
        return

    def one(case: str, seconds: float) -> dict[str, float] | None:
        settings = [
            f"--{name.replace('_', '-')}={getattr(args, name)}"
            for name in ("fps", "size", "wan_width", "tae_width", "threads")
        ]
        done = subprocess.run(
            [sys.executable, __file__, "--case", case, "--seconds", str(seconds), *settings],
            env={**os.environ, **ALLOCATOR}, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            print(f"{case} at {seconds:g} s failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return None
        result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return result

    print(f"{datetime.date.today()}; {machine()}")
    print(f"{shlex.join(['python', *sys.argv])}")
    print(
        f"{args.size}x{args.size} at {args.fps:g} a second, float32, widths {args.tae_width} (TAE, published 128)"
        f" and {args.wan_width} (Wan, published 96), {args.threads} threads\n"
    )
    print(
        "| codec | seconds | peak MB | of it the result | times the first | wall s |\n|---|---|---|---|---|---|"
    )
    rows = []
    for case in args.only:
        first: float | None = None
        for seconds in args.seconds:
            result = one(case, seconds)
            if result is None:
                continue
            first = first or result["peak_mb"]
            ratio = result["peak_mb"] / first
            rows.append({"case": case, "seconds": seconds, "ratio": ratio, **result})
            print(
                f"| {CASES[case]} | {seconds:g} | {result['peak_mb']:.0f} | {result['output_mb']:.0f}"
                f" | {ratio:.2f} | {result['wall_s']:.1f} |",
                flush=True,
            )
    print("\n" + json.dumps(rows))


if __name__ == "__main__":
    main()
