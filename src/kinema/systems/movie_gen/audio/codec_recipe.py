"""Nano's sound autoencoder, trained on the Small World's sounds (Movie Gen, section 6: the DAC-VAE).

The paper says only that the codec is a Descript Audio Codec without its quantiser, trained as a variational
autoencoder. Losses, their weights and the discriminators are therefore those of that codec. Nano learns the mel spectra
first, and plays against discriminators only then: on few steps that is steadier. The encoder stands still in the game,
so what is trained on the latents need not wait for it. Real recordings are mixed in where a folder of them is named;
every eighth of them is kept for measuring. Sonic Pi's samples (CC0) are a good folder.

    python -m kinema.systems.movie_gen.audio.codec_recipe --out runs/sound_codec [--real FOLDER] [--set codec.steps=500]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.codecs import DacVAE, DacVAEConfig, save_codec
from kinema.codecs import losses as codec_losses
from kinema.codecs.dac_discriminators import SMALL, DiscriminatorConfig, SoundDiscriminators
from kinema.codecs.dac_losses import Game, multi_scale_mel, play
from kinema.codecs.dac_start import linear_start
from kinema.errors import UserError
from kinema.eval.sound import mel_distance, si_sdr
from kinema.media import Sound
from kinema.media.encode import resample
from kinema.train import BatchIndex, Recipe, Stage, run_stages
from kinema.train.overrides import override_stages
from kinema.world.scene import WorldSpec, sample_scene
from kinema.world.sound import render_sound

MEL_WEIGHT = 15.0  # this, the next and the game's 1 are the Descript Audio Codec's
FEATURE_WEIGHT = 2.0
KL_WEIGHT = 1e-2  # of the mean over elements; not disclosed
WAVE_WEIGHT = 100.0  # ours: of the absolute error of the wave, which keeps what is loud sharp
SPEC = WorldSpec(vocabulary="full")
SUFFIXES = (".wav", ".flac")
SMALLEST = 1 / 3  # size of a latent's channel that nothing foretells
HELD_OUT = 8  # every so many recordings one is not trained on
START_SCENES = 250  # whose sounds the linear code is made from
PIECES = 4  # that are cut from one scene before the next


@dataclass(frozen=True, kw_only=True)
class SoundSource:
    """Pieces of sound as training data, pure in the indices: (B, 1, crop) float32 in [-1, 1].

    `real_share` of them come from the recordings in `folder`, if there is one; the rest are the Small World's.
    """

    rate: int = 48000
    crop: int = 24000  # samples
    split: str = "train"
    folder: Path | None = None
    real_share: float = 0.3
    spec: WorldSpec = SPEC

    def __call__(self, index: BatchIndex) -> Tensor:
        return self.sounds(index.indices)

    def sounds(self, indices: Sequence[int]) -> Tensor:
        """One piece for each index."""
        return torch.stack([self._piece(i) for i in indices])

    def _piece(self, i: int) -> Tensor:
        rng = random.Random(f"sound piece:{self.split}:{i}")
        chooser = random.Random(f"recording:{self.split}:{i}")  # its own: the other pieces stay what they are
        if self.folder is not None and chooser.random() < self.real_share:
            whole = recording(chooser.choice(recordings(self.folder, self.split)), self.rate)
        else:
            whole = scene_sound(self.split, i // PIECES, self.spec, self.rate, self.crop)
        piece = torch.zeros(1, self.crop)
        room = whole.shape[-1] - self.crop
        if room >= 0:
            start = rng.randint(0, room)
            piece = whole[:, start : start + self.crop]
        else:
            start = rng.randint(0, -room)
            piece[:, start : start + whole.shape[-1]] = whole
        return piece * 10 ** (rng.uniform(-12.0, 0.0) / 20)


@lru_cache(maxsize=8)
def recordings(folder: Path, split: str = "train") -> tuple[Path, ...]:
    """The sound files below a folder, by name, every eighth for measuring. Raises UserError without any."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    kept = found[HELD_OUT - 1 :: HELD_OUT]
    chosen = tuple(path for path in found if path not in kept) if split == "train" else tuple(kept)
    if not chosen:
        raise UserError(
            f"there are {len(found)} {' or '.join(SUFFIXES)} files in '{folder}': name a folder with {HELD_OUT} or more"
        )
    return chosen


@lru_cache(maxsize=32)
def scene_sound(split: str, number: int, spec: WorldSpec, rate: int, least: int) -> Tensor:
    """A scene's sound (1, samples), of its duration or `least` samples, whichever is longer."""
    scene = sample_scene(split, number, spec)
    return render_sound([scene], rate, max(least / rate, scene.duration))[0]


@lru_cache(maxsize=256)
def recording(path: Path, rate: int) -> Tensor:
    """A file mixed down to mono at a rate: (1, samples)."""
    sound = Sound.read(path)
    mono = sound.samples.mean(axis=0, keepdims=True, dtype=np.float32)
    return torch.from_numpy(resample(mono, sound.rate, rate))


class AdversarialCodec(nn.Module):
    """The codec and those it plays against: one model, so that one optimiser state and one checkpoint hold both."""

    def __init__(self, codec: DacVAE, discriminators: SoundDiscriminators, game: Game) -> None:
        super().__init__()
        self.codec, self.discriminators, self.game = codec, discriminators, game


def codec_loss(
    model: nn.Module, sound: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mel spectra, the wave and KL; sound is (B, 1, N)."""
    loss, logs, _ = _reconstruction(model, sound, generator)
    return loss, logs


def adversarial_loss(
    model: nn.Module, sound: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same and the game: both players' losses, whose gradients do not mix (see `play`)."""
    assert isinstance(model, AdversarialCodec)
    loss, logs, made = _reconstruction(model.codec, sound, generator)
    game = play(model.discriminators, sound, made, model.game)
    loss = loss + game.generator + FEATURE_WEIGHT * game.features + game.discriminator
    return loss, logs | {
        "generator": game.generator,
        "features": game.features,
        "discriminator": game.discriminator,
    }


def _reconstruction(
    codec: nn.Module, sound: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    assert isinstance(codec, DacVAE)
    made = codec(sound, generator)
    mel = multi_scale_mel(made.sound, sound, codec.config.rate)
    wave = codec_losses.l1(made.sound, sound)
    divergence = codec_losses.kl(made.posterior)
    loss = MEL_WEIGHT * mel + WAVE_WEIGHT * wave + KL_WEIGHT * divergence
    return loss, {"mel": mel, "wave": wave, "kl": divergence}, made.sound


@torch.no_grad()
def fidelity(codec: DacVAE, count: int = 32, batch: int = 8) -> Mapping[str, float]:
    """Mel distance and SI-SDR (dB) on held-out sounds of the Small World."""
    rate = codec.config.rate
    source = SoundSource(rate=rate, crop=2 * rate, split="val")
    device = codec.spec.mean.device
    mel, ratio = list[Tensor](), list[Tensor]()
    for start in range(0, count, batch):
        sounds = source.sounds(range(start, min(start + batch, count))).to(device)
        made = codec.decode(codec.encode(sounds), sounds.shape[-1])
        mel.append(mel_distance(made, sounds, rate))
        ratio.append(si_sdr(made, sounds))
    return {"mel": float(torch.cat(mel).mean()), "si_sdr": float(torch.cat(ratio).mean())}


@torch.no_grad()
def finish_statistics(codec: DacVAE, source: SoundSource, batches: int = 16, size: int = 16) -> None:
    """Measure the latent's mean and deviation on training sounds and keep them with the codec.

    Channels that do not carry on from frame to frame hold the wave itself, which nothing foretells. They are made
    smaller, down to a third: a flow then settles them last, beside energies that it has settled before, and its loss
    is not mostly theirs.
    """
    sounds = [source.sounds(range(k * size, (k + 1) * size)) for k in range(batches)]
    codec.fit_statistics(sounds)
    sizes = channel_sizes(torch.cat([codec.encode(part) for part in sounds]))
    codec.spec.set_statistics(codec.spec.mean.flatten(), codec.spec.std.flatten() / sizes)


@torch.no_grad()
def channel_sizes(latent: Tensor) -> Tensor:
    """(C,) from latents (B, C, T) of mean 0: the root of what one frame tells of the next, a third at least."""
    told = (latent[..., 1:] * latent[..., :-1]).mean((0, 2)) / latent.square().mean((0, 2)).clamp(min=1e-12)
    return told.clamp(min=0.0).sqrt().clamp(SMALLEST, 1.0)


def codec_stage(
    codec: DacVAE, source: SoundSource | None = None, steps: int = 1900, batch_size: int = 16
) -> Stage:
    """Training on spectra and waves alone, from the best linear code of training sounds."""
    source = source or SoundSource(rate=codec.config.rate)

    def start(model: nn.Module) -> None:
        if codec.config.frame > 1:
            linear_start(codec, source.sounds(range(0, PIECES * START_SCENES, PIECES)))

    return Stage(
        name="codec",
        model=codec,
        loss=codec_loss,
        batches=source,
        steps=steps,
        batch_size=batch_size,
        lr=7e-5,
        betas=(0.9, 0.99),
        schedule="wsd",
        decay_fraction=0.3,
        warmup_steps=min(30, steps // 10),
        clip_norm=100.0,
        ema_decay=0.995,
        prefetch=2,
        precision="fp32",  # bfloat16 cannot tell silence from what is 50 dB below the loudest
        log_every=20,
        checkpoint_every=200,
        validate=lambda model, folder: fidelity(model),  # type: ignore[arg-type]
        validate_every=500,
        prepare=start,
    )


def adversarial_stage(
    codec: DacVAE,
    source: SoundSource | None = None,
    steps: int = 3200,
    batch_size: int = 8,
    config: DiscriminatorConfig = SMALL,
    game: Game = "least_squares",
) -> Stage:
    """Training of the decoder against discriminators; the codec passed in holds the averaged weights at the end."""

    def hold_encoder(model: nn.Module) -> None:
        codec.encoder.requires_grad_(False)
        codec.in_proj.requires_grad_(False)

    return Stage(
        name="codec_game",
        model=AdversarialCodec(codec, SoundDiscriminators(config), game),
        loss=adversarial_loss,
        batches=source or SoundSource(rate=codec.config.rate),
        steps=steps,
        batch_size=batch_size,
        lr=5e-5,
        betas=(0.8, 0.99),
        schedule="wsd",
        warmup_steps=min(100, steps // 10),
        clip_norm=1000.0,
        ema_decay=0.995,
        prefetch=2,
        precision="fp32",  # bfloat16 cannot tell silence from what is 50 dB below the loudest
        log_every=20,
        checkpoint_every=200,
        validate=lambda model, folder: fidelity(model.codec),  # type: ignore[arg-type]
        validate_every=500,
        prepare=hold_encoder,
    )


def recipe(folder: Path | None = None, config: DacVAEConfig | None = None) -> Recipe:
    """Both stages on one codec, then its statistics; the final file is `sound_codec.safetensors`."""
    torch.manual_seed(0)
    codec = DacVAE(config or DacVAEConfig.preset("nano"))
    source = SoundSource(rate=codec.config.rate, folder=folder)

    def finish(final: Path) -> Path:
        ready = codec.cpu().folded()
        finish_statistics(ready, source)
        save_codec(ready, final / "sound_codec.safetensors", torch.float16)
        return final / "sound_codec.safetensors"

    return Recipe(stages=[codec_stage(codec, source), adversarial_stage(codec, source)], finish=finish)


def main(arguments: Sequence[str]) -> int:
    """Train, or go on training, in `--out`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the run's folder; an existing one is continued"
    )
    parser.add_argument("--real", type=Path, help="a folder of recordings to mix in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.FIELD=VALUE")
    options = parser.parse_args(arguments)
    made = recipe(options.real)
    run_stages(override_stages(made.stages, options.set), options.out, seed=options.seed)
    made.finish(options.out / "final")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
