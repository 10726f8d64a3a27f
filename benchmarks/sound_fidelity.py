"""How close nano's sound codec comes: mel distance and SI-SDR on held-out sounds, and spectra to look at.

    python benchmarks/sound_fidelity.py [--weights FILE] [--real FOLDER] [--picture FILE.png]

Pieces of 2 s: of held-out scenes of the Small World, and, with --real, of every eighth recording of a folder, which the
codec's recipe keeps out of training (nano's had Sonic Pi's CC0 samples). "Other phases" stands beside it for what noise
with the right spectrum would give: the true sound with all phases of its short-time spectrum drawn anew. SI-SDR is of
waves: two sounds that are heard as the same hiss have nothing in common there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor

import kinema
from kinema.eval.sound import mel_distance, si_sdr
from kinema.systems.movie_gen.audio.codec_recipe import SoundSource, recording, recordings

from measuring import machine

RATE, SECONDS = 48000, 2.0
SPECTRUM = 2048


def real_sounds(folder: Path) -> tuple[list[str], Tensor]:
    """The held-out recordings' first 2 s, (N, 1, samples), shorter ones with silence after them."""
    names, found = [], []
    for path in recordings(folder, "val"):
        whole = recording(path, RATE)[:, : round(RATE * SECONDS)]
        names.append(path.stem)
        found.append(torch.nn.functional.pad(whole, (0, round(RATE * SECONDS) - whole.shape[1])))
    return names, torch.stack(found)


def other_phases(sounds: Tensor) -> Tensor:
    """Sounds (N, 1, samples) whose short-time spectra have the same sizes, nearly, and other phases."""
    window = torch.hann_window(SPECTRUM)
    spectra = torch.stft(sounds[:, 0], SPECTRUM, SPECTRUM // 4, window=window, return_complex=True)
    turn = torch.rand(spectra.shape, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    sizes = spectra.abs() * torch.polar(torch.ones_like(turn), turn)
    return torch.istft(sizes, SPECTRUM, SPECTRUM // 4, window=window, length=sounds.shape[2])[:, None]


def row(name: str, made: Tensor, true: Tensor) -> dict[str, object]:
    """Means over the sounds."""
    ratio = si_sdr(made, true).flatten()
    return {
        "sounds": name,
        "count": len(true),
        "mel_distance_db": float(mel_distance(made, true, RATE).mean()),
        "si_sdr_db": float(ratio.mean()),
        "si_sdr_best_db": float(ratio.max()),
    }


def picture(path: Path, named: list[tuple[str, Tensor, Tensor]]) -> None:
    """The true spectrum above what the codec makes of it, a column for each sound."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from kinema.world.colours import SPECTRUM as COLOURS
    from kinema.world.colours import ramp
    from kinema.world.sound_picture import spectrogram

    figure, axes = plt.subplots(2, len(named), figsize=(3 * len(named), 4.6), squeeze=False)
    for column, (name, true, made) in enumerate(named):
        for axis, sound, what in zip(axes[:, column], (true, made), ("true", "codec"), strict=True):
            axis.imshow(ramp(spectrogram(sound.flatten(), RATE, 160, 240), COLOURS), aspect="auto")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{name}, {what}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


@torch.inference_mode()
def main() -> None:
    """Measure, print the table and JSON, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="default: the nano weights of the package")
    parser.add_argument("--real", type=Path, help="a folder of recordings")
    parser.add_argument("--count", type=int, default=64, help="pieces of the Small World")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    model = kinema.load("movie-gen-audio-nano", **({"weights": args.weights} if args.weights else {}))
    codec, samples = model.parts.codec, round(RATE * SECONDS)
    world = SoundSource(rate=RATE, crop=samples, split="val").sounds(range(0, 4 * args.count, 4))
    groups = {"the Small World": ([f"world {k}" for k in range(args.count)], world)}
    if args.real is not None:
        groups["recordings"] = real_sounds(args.real)
    rows, drawn = [], []
    for name, (names, true) in groups.items():
        made = torch.cat([codec.decode(codec.encode(part), samples) for part in true.split(8)])
        rows += [row(name, made, true), row(f"{name}, other phases", other_phases(true), true)]
        drawn += [(names[k], true[k], made[k]) for k in range(min(4, len(names)))]
    print(f"{shlex.join(sys.argv)}\n{datetime.date.today()}, {machine()}\n")
    print(
        "| sounds | pieces | mel distance, dB | SI-SDR, dB | the best one's |\n| --- | --- | --- | --- | --- |"
    )
    for r in rows:
        print(
            f"| {r['sounds']} | {r['count']} | {r['mel_distance_db']:.2f} | {r['si_sdr_db']:.1f} |"
            f" {r['si_sdr_best_db']:.1f} |"
        )
    print(json.dumps(rows))
    if args.picture is not None:
        args.picture.parent.mkdir(parents=True, exist_ok=True)
        picture(args.picture, drawn)


if __name__ == "__main__":
    main()
