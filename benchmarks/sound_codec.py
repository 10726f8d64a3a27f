"""How fast the sound codec is: seconds of sound a second, kinema's DAC-VAE and descript-audio-codec beside it.

    python benchmarks/sound_codec.py [--preset full nano] [--seconds 2 10] [--threads 2] [--descript FOLDER]

The peer is the trunk of PyPI's descript-audio-codec 1.0.0, built to the same sizes and given the same weights; it has
no Gaussian latent, so kinema's two 1x1 convolutions come on top of its own work. It asks for packages that do not
install beside ours, so it is taken from an unpacked wheel (`pip download --no-deps descript-audio-codec==1.0.0`), and
without --descript its rows are left out. Its layers have no framing, so nano has no peer. "folded" has the weight norm
folded in, "tiled" works in pieces of 2 s. Random weights: they change nothing in the time. The fastest of the repeats
counts; outputs are compared first, and a difference over 1e-4 is an error.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from kinema.codecs import DacVAE, DacVAEConfig

from measuring import machine

TWO_SECONDS = 50  # latent frames


def descript(folder: Path, codec: DacVAE) -> tuple[nn.Module, nn.Module]:
    """The peer's encoder and decoder with the weights of `codec`."""
    audiotools, ml = ModuleType("audiotools"), ModuleType("audiotools.ml")
    ml.BaseModel = nn.Module  # type: ignore[attr-defined]
    audiotools.ml, audiotools.AudioSignal = ml, object  # type: ignore[attr-defined]
    base = ModuleType("dac.model.base")
    base.CodecMixin = object  # type: ignore[attr-defined]
    sys.modules |= {"audiotools": audiotools, "audiotools.ml": ml, "dac.model.base": base}
    for part in ("dac", "dac.model", "dac.nn"):
        module = ModuleType(part)
        module.__path__ = [str(folder / part.replace(".", "/"))]
        sys.modules[part] = module
    theirs = importlib.import_module("dac.model.dac")
    config = codec.config
    encoder = theirs.Encoder(config.encoder_widths[0], list(config.rates), config.trunk)
    decoder = theirs.Decoder(config.trunk, config.decoder_widths[0], list(config.rates[::-1]))
    encoder.load_state_dict(codec.encoder.state_dict())
    decoder.load_state_dict(codec.decoder.state_dict())
    return encoder.eval(), decoder.eval()


def best(run: Callable[[], Tensor], repeats: int) -> float:
    """Seconds of the fastest run, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times)


def cases(preset: str, seconds: float, folder: Path | None) -> dict[str, Callable[[], Tensor]]:
    """Round trips by name, each -> sound (1, 1, N); they have been compared with one another."""
    torch.manual_seed(0)
    codec = DacVAE(DacVAEConfig.preset(preset)).eval()
    folded, count = codec.folded(), round(seconds * codec.config.rate)
    count -= count % codec.config.hop
    sound = 0.3 * torch.randn(1, 1, count)

    def trip(one: DacVAE, tile: int | None) -> Callable[[], Tensor]:
        return lambda: one.decode(one.encode(sound, tile), count, tile)

    found = {
        f"kinema {preset}": trip(codec, None),
        f"kinema {preset}, folded": trip(folded, None),
        f"kinema {preset}, folded, tiled": trip(folded, TWO_SECONDS),
    }
    if folder is not None and codec.config.frame == 1:
        encoder, decoder = descript(folder, codec)

        def theirs() -> Tensor:
            out: Tensor = decoder(codec.out_proj(codec.in_proj(encoder(sound)).chunk(2, dim=1)[0]))
            return out

        found[f"descript-audio-codec at the size of {preset}"] = theirs
    wanted = next(iter(found.values()))()
    for name, run in found.items():
        difference = float((run() - wanted).abs().max())
        if difference > 1e-4:
            raise RuntimeError(f"{name} differs by {difference:.3g}")
    return found


@torch.inference_mode()
def main() -> None:
    """Measure and print the table and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", nargs="+", default=["full", "nano"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 10.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--descript", type=Path, help="the unpacked wheel of descript-audio-codec 1.0.0")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for preset in args.preset:
        for seconds in args.seconds:
            first = None
            for name, run in cases(preset, seconds, args.descript).items():
                took = best(run, args.repeats)
                first = first or took
                rows.append(
                    {"case": name, "seconds": seconds, "took_s": took, "times_real_time": seconds / took,
                     "speed_against_first": first / took}
                )  # fmt: skip
    print(f"{shlex.join(sys.argv)}\n{datetime.date.today()}, {machine()}, {args.threads} threads\n")
    print("| round trip | sound | took | x real time | speed against the first |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['case']} | {row['seconds']:g} s | {row['took_s']:.3f} s | {row['times_real_time']:.2f} |"
            f" {row['speed_against_first']:.2f} |"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
