"""Movie Gen Audio at nano size, from nothing to the sound of a clip (2410.13720, section 6).

The paper's claim: one flow-matching transformer, trained to predict masked sound under the video's frames and words,
makes, extends and fills in sound in step with the picture; a small clean set at the end makes it sound better.

    kinema train movie-gen-audio --out runs/audio

Stages: the sound codec, the frame encoder, the text encoder, then the transformer on the Small World (a quarter of the
clips damaged, and labelled so), then on clean clips alone, ten batches with frames to one without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.codecs import DacVAE, DacVAEConfig
from kinema.errors import UserError
from kinema.flow.times import logit_normal
from kinema.systems.movie_gen.audio import text_recipe, visual_recipe
from kinema.systems.movie_gen.audio.clips import SoundBatch, TwoLengths, WorldSounds
from kinema.systems.movie_gen.audio.model import MovieGenAudioTransformer, preset
from kinema.systems.movie_gen.audio.objective import masked_prediction_loss
from kinema.systems.movie_gen.audio.parts import AudioParts, load_parts, save_parts
from kinema.systems.movie_gen.audio.visual import FrameNet, FrameNetConfig
from kinema.text.nano import NanoTextEncoder
from kinema.train import BatchIndex, Recipe, Stage, seed_everything

SHORT, LONG = 2.0, 4.0  # seconds of the chunks; the paper's are 10 and 30, mixed 5 : 1 as here
LONG_SCENES = 4_000_000  # number of the first scene of the long chunks
CLEAN_SCENES = 2_000_000  # of the finetuning set


early_times = partial(logit_normal, mean=-1.0)


def audio_loss(
    parts: AudioParts,
) -> Callable[[nn.Module, SoundBatch, torch.Generator], tuple[Tensor, dict[str, Tensor]]]:
    """Masked prediction on the codec's latents; codec, frame and text encoder stand still.

    More of the times are early ones than the paper draws: what happens, and when, is decided there.
    """

    def loss(
        model: nn.Module, batch: SoundBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        device = next(model.parameters()).device
        text = parts.text.encode(batch.texts).padded(parts.text.max_tokens).to(device)
        value, logs = masked_prediction_loss(
            model,
            batch.latent.to(device),
            batch.visual.to(device),
            batch.seen.to(device),
            text,
            generator,
            time_law=early_times,
        )
        if isinstance(model, MovieGenAudioTransformer):
            logs = {**logs, "gate": model.frames.gate.detach().tanh().squeeze()}
        return value, logs

    return loss


def world_source(
    parts: AudioParts, *, clean: bool, scenes: int = 9_000, folder: Path | None = None
) -> TwoLengths:
    """Pretraining: a quarter of the clips damaged. Finetuning: clean ones, every eleventh batch without frames."""
    settings: dict[str, Any] = {"noisy": 0, "silent_every": 11} if clean else {"noisy": 4}
    settings |= {"folder": folder, "frame_age": parts.transformer.config.frame_age}
    first = CLEAN_SCENES if clean else 0
    short = WorldSounds(parts.codec, parts.frames, seconds=SHORT, scenes=scenes, first=first, **settings)
    long = WorldSounds(
        parts.codec, parts.frames, seconds=LONG, scenes=scenes // 6, first=first + LONG_SCENES, **settings
    )
    return TwoLengths(short, long)


def transformer_stage(
    name: str, parts: AudioParts, source: Callable[[BatchIndex], SoundBatch], **settings: Any
) -> Stage:
    """What the stages of the transformer share."""
    defaults: dict[str, Any] = {
        "optimizer": "muon",
        "lr": 3e-3,
        "betas": (0.9, 0.95),
        "weight_decay": 0.1,
        "compile": True,
        "prefetch": 1,
        "log_every": 25,
        "checkpoint_every": 250,
        "lr_scales": {"frames.gate": 25.0},  # it starts at zero and would open slowly
    }
    return Stage(
        name=name, model=parts.transformer, loss=audio_loss(parts), batches=source, **{**defaults, **settings}
    )


def pretrain_stage(
    parts: AudioParts, steps: int = 18_000, batch_size: int = 32, scenes: int = 15_000
) -> Stage:
    """Masked prediction on the world; the paper warms up and then keeps the rate."""
    return transformer_stage(
        "pretrain",
        parts,
        world_source(parts, clean=False, scenes=scenes),
        steps=steps,
        batch_size=batch_size,
        schedule="constant",
        warmup_steps=min(200, steps // 2),
        ema_decay=0.999 if steps > 2000 else 0.9,
    )


def finetune_stage(parts: AudioParts, steps: int = 5000, batch_size: int = 32, scenes: int = 9000) -> Stage:
    """The clean set; the rate falls in a line to nothing, and the weights are averaged."""
    return transformer_stage(
        "finetune",
        parts,
        world_source(parts, clean=True, scenes=scenes),
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        schedule="linear",
        warmup_steps=min(50, steps // 2),
        ema_decay=0.995 if steps > 500 else 0.9,
    )


def new_parts(size: str = "nano", codec: DacVAE | None = None) -> AudioParts:
    """Untrained networks, around a trained codec if there is one."""
    codec, frames, text = (
        codec or DacVAE(DacVAEConfig.preset("nano")),
        FrameNet(FrameNetConfig(heads=visual_recipe.kept_heads())),
        text_recipe.new_text_encoder(),
    )
    config = preset(size, latent_channels=codec.spec.channels, visual_dim=frames.dim, text_dim=text.dim)
    return AudioParts(codec, frames, text, MovieGenAudioTransformer(config))


def codec_stages(codec: DacVAE) -> tuple[list[Stage], Callable[[nn.Module], None]]:
    """The stages of the codec, and what measures its latent's mean and deviation after them."""
    from kinema.systems.movie_gen.audio import codec_recipe

    source = codec_recipe.SoundSource(rate=codec.config.rate)

    def measure(model: nn.Module) -> None:
        codec_recipe.finish_statistics(codec, source)

    return [codec_recipe.codec_stage(codec, source), codec_recipe.adversarial_stage(codec, source)], measure


def recipe(
    preset: str = "nano",
    data: Path | None = None,
    seed: int = 0,
    init: Path | None = None,
    codec: DacVAE | None = None,
) -> Recipe:
    """The stages of a run and what becomes of them. With `init` they finetune given weights, else start from nothing.

    preset: size of the transformer; every size trains in nano's latent space, under nano's encoders.
    codec: a trained one with its statistics; without it the run trains one first.
    """
    if data is not None:
        raise UserError("Movie Gen Audio trains on the Small World's clips; leave out --data")
    seed_everything(seed)
    if init is not None:
        parts = load_parts(init)
        return Recipe(stages=[finetune_stage(parts)], finish=lambda folder: _save(parts, folder))
    parts = new_parts(preset, codec)
    assert isinstance(parts.codec, DacVAE)
    assert isinstance(parts.frames, FrameNet)
    assert isinstance(parts.text, NanoTextEncoder)
    first, pretrain, finetune = list[Stage](), pretrain_stage(parts), finetune_stage(parts)
    if codec is None:
        first, measure = codec_stages(parts.codec)
        pretrain.prepare = finetune.prepare = measure  # both: a run may be resumed in either
    stages = [
        *first,
        visual_recipe.frame_stage(visual_recipe.SeeingFrames(parts.frames)),
        text_recipe.text_stage(text_recipe.SoundWords(parts.text)),
        pretrain,
        finetune,
    ]
    return Recipe(stages=stages, finish=lambda folder: _save(parts, folder))


def _save(parts: AudioParts, folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_parts(parts, path)
    return path
