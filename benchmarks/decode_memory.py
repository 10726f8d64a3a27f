"""Memory that decoding takes, by the length of the clip: kinema's codecs, and diffusers' AutoencoderKLWan beside.

    python benchmarks/decode_memory.py [--seconds 1 2 16] [--size 256] [--wan-width 32] [--tae-width 32]

Each case runs in a process of its own, with random weights and the latent ready. Measured is the highest resident set
while decoding, less that before it (Linux). "stream" hands each piece over as uint8 and lets it go, which is what
writing a file needs; "whole" gives the clip back as one float32 tensor, whose own size stands beside it. The temporal
autoencoder decodes in tiles of 32 frames as published, which a clip of 1 s does not fill: its 16 s compare with 2 s.
The rows with tiles of 16 frames, which 1 s fills, compare like with like. kinema's WanVAE and diffusers' have the same
weights and decode the same latent: unless the means of their frames agree, there is no figure. Widths are those of the
finest level; published are 128 (temporal autoencoder) and 96 (Wan).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
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
from kinema.codecs.wan_weights import load_wan

from measuring import ALLOCATOR, begin_peak, machine, resident

CASES = {
    "tae-stream-16-tiled": "kinema TAE, stream, tiles of 16 frames and half the size in space",
    "tae-stream-16": "kinema TAE, stream, tiles of 16 frames",
    "tae-stream-32": "kinema TAE, stream, tiles of 32 frames",
    "tae-whole-16": "kinema TAE, whole, tiles of 16 frames",
    "wan-stream": "kinema WanVAE, stream",
    "wan-whole": "kinema WanVAE, whole",
    "wan-stream-tiled": "kinema WanVAE, stream, tiles of half the size in space",
    "diffusers-whole": "diffusers AutoencoderKLWan, whole",
    "diffusers-whole-tiled": "diffusers AutoencoderKLWan, whole, tiles of half the size in space",
}


@dataclass(frozen=True)
class Decoded:
    """Frames that came, and the sum of their values in [-1, 1]; `whole` is the clip where it was kept."""

    frames: int
    total: float
    whole: Tensor | None = None

    def mean(self, size: int) -> float:
        """Over all frames, channels and places."""
        if self.whole is not None:
            return float(self.whole.clamp(-1, 1).mean())
        return self.total / (self.frames * 3 * size**2)


def drain(pieces: Iterator[Tensor]) -> Decoded:
    """Take each piece as uint8 and forget it."""
    frames, total = 0, 0.0
    for piece in pieces:
        frames += ((piece + 1) * 127.5).to(torch.uint8).shape[2]
        total += float(piece.clamp(-1, 1).sum(dtype=torch.float64))
        del piece  # before the next one is made
    return Decoded(frames, total)


def keep(clip: Tensor) -> Decoded:
    """Hold the clip."""
    return Decoded(clip.shape[2], 0.0, clip)


def their_vae(args: argparse.Namespace) -> torch.nn.Module:
    """The autoencoder of diffusers with random weights, the same every time."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.parity import shim_torchvision

    shim_torchvision()  # a torchvision that does not load keeps diffusers from loading
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae: Any = AutoencoderKLWan(base_dim=args.wan_width)
    return vae.eval()


def prepare(case: str, args: argparse.Namespace) -> tuple[Callable[[], Decoded], int]:
    """What decodes the case, and how many frames it should give."""
    frames, side = round(args.seconds[0] * args.fps), args.size // 8
    half = max(64, args.size // 2)
    if case.startswith("tae"):
        tile = int(case.split("-")[2])
        image = ImageVAEConfig(
            latent_channels=16, base_channels=args.tae_width, multipliers=(1, 2, 4, 4),
            encoder_blocks=(2,) * 4, decoder_blocks=(3,) * 4, norm_groups=min(32, args.tae_width),
        )  # fmt: skip
        tae = TemporalAutoencoder(TAEConfig(image=image, temporal_strides=(2, 2, 2))).eval()
        tae.encoder = torch.nn.Identity()  # type: ignore[assignment]  # only decoding is measured
        latent = torch.randn(1, 16, tae.spec.latent_frames(frames), side, side)
        size = half if "tiled" in case else None
        tiling = Tiling(frames=tile, frame_overlap=tile // 2, size=size, overlap=half // 4 // 8 * 8)
        if "stream" in case:
            return lambda: drain(decode_stream(tae, latent, frames, tiling)), frames
        return lambda: keep(decode_tiled(tae, latent, frames, tiling)), frames
    frames += 1  # a causal codec has the first frame by itself
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(1, 16, 1 + (frames - 1) // 4, side, side, generator=generator)
    if case.startswith("wan"):
        vae = WanVAE(WanVAEConfig(base_channels=args.wan_width)).eval()
        if args.weights is not None:
            load_wan(vae, load_file(args.weights), args.weights)
        tiling = Tiling(
            frames=4, frame_overlap=0, size=half if "tiled" in case else None, overlap=half // 4 // 8 * 8
        )
        if "stream" in case:
            return lambda: drain(decode_stream(vae, latent, frames, tiling)), frames
        return lambda: keep(decode_tiled(vae, latent, frames, tiling)), frames
    theirs: Any = their_vae(args)
    config = WanVAEConfig()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latent_mean, config.latent_std))
    latent = latent * std + mean
    if "tiled" in case:
        theirs.enable_tiling(half, half, half * 3 // 4, half * 3 // 4)
    return lambda: keep(theirs.decode(latent).sample), frames


@torch.inference_mode()
def measure(case: str, args: argparse.Namespace) -> dict[str, float]:
    """Decode once in this process."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    run, frames = prepare(case, args)
    before, begun = begin_peak(), time.perf_counter()
    made = run()
    seconds = time.perf_counter() - begun
    peak = resident("VmHWM") - before
    if made.frames != frames:
        raise RuntimeError(f"{case} made {made.frames} frames and should have made {frames}")
    output = frames * 3 * args.size**2 * 4 / 1e6 if "whole" in case else 0.0
    return {"peak_mb": peak, "output_mb": output, "wall_s": seconds, "mean": made.mean(args.size)}


def main() -> None:
    """Measure every case in a process of its own and print the table and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[1.0, 2.0, 16.0], help="the first is compared to"
    )
    parser.add_argument("--fps", type=float, default=16.0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--wan-width", type=int, default=32)
    parser.add_argument("--tae-width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)  # of diffusers, for our WanVAE
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)  # one, in this process
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args)))
        return

    folder = tempfile.TemporaryDirectory()
    extra: list[str] = []
    if any(case.startswith("diffusers") for case in args.only):
        weights = Path(folder.name) / "wan.safetensors"
        save_file({name: part.contiguous() for name, part in their_vae(args).state_dict().items()}, weights)
        extra = ["--weights", str(weights)]

    def one(case: str, seconds: float) -> dict[str, float] | None:
        settings = [
            f"--{name.replace('_', '-')}={getattr(args, name)}"
            for name in ("fps", "size", "wan_width", "tae_width", "threads")
        ]
        done = subprocess.run(
            [sys.executable, __file__, "--case", case, "--seconds", str(seconds), *settings, *extra],
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
    rows, means = [], dict[float, float]()
    for case in args.only:
        first: float | None = None
        for seconds in args.seconds:
            result = one(case, seconds)
            if result is None:
                continue
            if case in ("wan-stream", "wan-whole", "diffusers-whole"):
                gap = abs(means.setdefault(seconds, result["mean"]) - result["mean"])
                if gap > 1e-4:
                    raise SystemExit(
                        f"{case} at {seconds:g} s gives other frames: their means differ by {gap:.2g}"
                    )
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
