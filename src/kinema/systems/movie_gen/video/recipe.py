"""Movie Gen Video at nano size, from nothing to a clip (2410.13720, sections on training and finetuning).

The paper's claim: keep the parts simple (temporal autoencoder, LLaMa-shaped transformer, flow matching), train on
pictures, then on pictures and clips together, then on a small curated set, and average the finetuned models.

    kinema train movie-gen-video --out runs/nano                  everything, on the Small World
    kinema train movie-gen-video --data FOLDER --out runs/mine    finetune nano on your own captioned clips
    kinema train movie-gen-video --size 96 --out runs/nano-96     grow nano to 96x96 pixels and train on
    kinema train movie-gen-video --buckets nano --out runs/mixed  clips of five shapes and two lengths
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.data import open_dataset
from kinema.errors import UserError
from kinema.flow.objective import flow_matching_loss
from kinema.flow.times import logit_normal
from kinema.systems.movie_gen.video import codec_recipe, growth, text_recipe
from kinema.systems.movie_gen.video.model import MovieGenTransformer, preset
from kinema.systems.movie_gen.video.parts import Parts, load_parts, save_parts
from kinema.systems.movie_gen.video.sources import (
    Batch,
    BucketedFolder,
    BucketedWorld,
    FolderSource,
    WorldSource,
    find_buckets,
)
from kinema.text.alignment import AlignedText
from kinema.text.characters import CharacterCodes
from kinema.train import BatchIndex, Recipe, Stage, seed_everything
from kinema.world.scene import WorldSpec

LATENT_GRID = (4, 8, 8)  # 16 frames of 64x64 through nano's codec
SECOND_SCENES = 2_000_000  # from here on training has seen none when the second half begins
THIRD_SCENES = 4_000_000
TEXT_DROP = 0.1  # share of prompts replaced by the empty one, for guidance (the paper gives none)
NANO_WORLD = WorldSpec(
    vocabulary="nano",
    actor_odds=(0.86, 0.12, 0.02),
    static_camera=0.6,
    appealing=0.25,
    fps=codec_recipe.RATES,
)
# Words to spell, and the mix of objects and cameras that prompts will have.
SIGNED_CLIPS = WorldSpec(
    vocabulary="nano",
    actor_odds=(0.75, 0.19, 0.06),
    static_camera=0.5,
    appealing=0.3,
    fps=codec_recipe.RATES,
    sign_odds=0.35,
    sign_letters=(1, 4),
)
SIGNED_PICTURES = replace(SIGNED_CLIPS, sign_odds=0.65)
# Words where they can be learned: with signs anywhere, 3,600 steps gave boards and strokes; with signs in one place the
# first words could be read after 300 steps of pictures. One size of letters was added with that, and not tried apart.
SPELLED_CLIPS = replace(SIGNED_CLIPS, sign_place="overhead", sign_odds=0.5)
SPELLED_PICTURES = replace(SPELLED_CLIPS, sign_odds=1.0)
# The curated set: one finish, one subject or two, cameras that mostly rest.
CURATED_WORLD = replace(
    SPELLED_CLIPS, actor_odds=(0.85, 0.12, 0.03), static_camera=0.55, appealing=1.0, fps=(8.0,), sign_odds=0.8
)


def video_loss(
    parts: Parts,
) -> Callable[[nn.Module, Batch, torch.Generator], tuple[Tensor, dict[str, Tensor]]]:
    """Flow matching on the codec's latents under text; codec and text encoder stand still."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        device = next(model.parameters()).device
        dropped = torch.rand(len(batch.texts), generator=generator, device=device) < TEXT_DROP
        texts = ["" if gone else text for text, gone in zip(batch.texts, dropped.tolist(), strict=True)]
        with torch.no_grad():
            latent = parts.codec.encode(batch.pixels.to(device)).float()
            states = parts.read(texts, one_length=True)  # one shape: compiled once
        value, logs = flow_matching_loss(lambda x, t: model(x, t, states), latent, generator, logit_normal)
        return value, {"velocity_rms": logs["velocity_rms"]}

    return loss


def new_parts(size: str = "nano") -> Parts:
    """Untrained networks. The codec already stands at its principal components."""
    codec, text, characters = codec_recipe.new_codec(), text_recipe.new_text_encoder(), CharacterCodes()
    dims = (text.dim, characters.dim)
    config = preset(size, latent_channels=codec.spec.channels, text_dims=dims, grid=LATENT_GRID)
    return Parts(codec=codec, text=text, transformer=MovieGenTransformer(config), characters=characters)


def transformer_stage(
    name: str, parts: Parts, source: Callable[[BatchIndex], Batch], **settings: Any
) -> Stage:
    """What the stages of the transformer share."""
    defaults: dict[str, Any] = {
        "optimizer": "muon",
        "lr": 2e-3,
        "betas": (0.9, 0.95),
        "weight_decay": 0.01,
        "schedule": "wsd",
        "warmup_steps": 100,
        "ema_decay": 0.999,
        "log_every": 25,
        "checkpoint_every": 250,
        "prefetch": 2,
        "compile": True,
    }
    return Stage(
        name=name,
        model=parts.transformer,
        loss=video_loss(parts),
        batches=source,
        **{**defaults, **settings},
    )


def picture_stage(parts: Parts, steps: int = 1200, batch_size: int = 192) -> Stage:
    """Text to image: a picture is a clip of one frame."""

    def measure(model: nn.Module) -> None:
        codec_recipe.finish_statistics(parts.codec)

    source = WorldSource(NANO_WORLD, picture_every=1, pictures_per_clip=1)
    return transformer_stage(
        "pictures", parts, source, steps=steps, batch_size=batch_size, prepare=measure, schedule="constant"
    )


def video_stage(
    parts: Parts,
    source: Callable[[BatchIndex], Batch] | None,
    steps: int = 3600,
    buckets: str | None = None,
) -> Stage:
    """Text to video, one batch of pictures to ten of clips; with `buckets` in several sizes and lengths."""
    one_shape = buckets is None
    if buckets is not None:
        table = find_buckets(buckets, growth.reach(parts))
        source = source or BucketedWorld(NANO_WORLD, table, picture_every=11)
    source = source or WorldSource(NANO_WORLD, picture_every=11)
    return transformer_stage(
        "video", parts, source, steps=steps, batch_size=32, decay_fraction=0.3, compile=one_shape
    )


def words_stage(
    parts: Parts, source: Callable[[BatchIndex], Batch] | None = None, steps: int = 3600
) -> Stage:
    """Text to video again, with words to spell and more pictures: the rate rises once more and falls to nothing."""
    source = source or WorldSource(
        SIGNED_CLIPS, picture_every=5, pictures=SIGNED_PICTURES, first=SECOND_SCENES
    )
    return transformer_stage("words", parts, source, steps=steps, batch_size=32, decay_fraction=0.35)


def spelling_stage(
    parts: Parts, source: Callable[[BatchIndex], Batch] | None = None, steps: int = 3000
) -> Stage:
    """Once more, with signs overhead; every third batch is pictures, half of them with a sign."""
    source = source or WorldSource(
        SPELLED_CLIPS, picture_every=3, pictures=SPELLED_PICTURES, first=THIRD_SCENES
    )
    return transformer_stage(
        "spelling", parts, source, steps=steps, batch_size=32, lr=1.5e-3, decay_fraction=0.5
    )


def curated_stage(parts: Parts, source: Callable[[BatchIndex], Batch] | None, arm: int) -> Stage:
    """Finetune a copy of the model on the curated set; the arms differ in data order, rate and length."""
    copied = copy.deepcopy(parts.transformer)

    def start(model: nn.Module) -> None:
        model.load_state_dict(parts.transformer.state_dict())

    stage = transformer_stage(
        f"curated-{arm}",
        parts,
        source or WorldSource(CURATED_WORLD, picture_every=0),
        steps=(200, 260)[arm],
        batch_size=32,
        lr=(6e-4, 5e-4)[arm],
        schedule="cosine",
        warmup_steps=20,
        ema_decay=0.99,
        prepare=start,
    )
    return replace(stage, model=copied)


def finetune_stage(parts: Parts, data: Path | None, seed: int) -> Stage:
    """Finetune given weights, on a folder of clips or on the curated set."""
    source = FolderSource(data, seed) if data else WorldSource(CURATED_WORLD, picture_every=0)
    if data:
        parts.prompt_style = "free"
    return transformer_stage(
        "finetune", parts, source, steps=600, batch_size=32, lr=6e-4, schedule="cosine", warmup_steps=30,
        ema_decay=0.99,
    )  # fmt: skip


def grown_stage(parts: Parts, data: Path | None, seed: int, size: int | None, frames: int | None) -> Stage:
    """Given weights grown to a larger picture or a longer clip, and trained on there."""
    growth.grow(parts, size, frames)
    loss = video_loss(parts)
    if data:
        return growth.grown_on_folder(parts, loss, data, seed=seed)
    return growth.grown_on_world(parts, loss, NANO_WORLD)


def average(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The mean of several finetuned models' weights."""
    states = [m.state_dict() for m in models]
    return {name: torch.stack([s[name].float() for s in states]).mean(0) for name in states[0]}


def recipe(
    preset: str = "nano",
    data: Path | None = None,
    seed: int = 0,
    init: Path | None = None,
    size: int | None = None,
    num_frames: int | None = None,
    buckets: str | None = None,
) -> Recipe:
    """The stages of a run and what becomes of them. With `init` they finetune given weights, else start from nothing.

    preset: size of the transformer; every size trains in nano's latent space, under nano's text encoder.
    data: a folder, shards or a table of captioned clips in place of the Small World, for the transformer.
    size, num_frames: grow the given weights to this height and width, to this length, and train on there.
    buckets: the joint stage (with `data` every stage of clips) draws from this table of sizes and lengths.
    """
    seed_everything(seed)
    grows = size is not None or num_frames is not None
    if grows and init is None:
        raise UserError("only given weights grow to another size or length: add --init nano, or a path")
    if buckets is not None and init is not None:
        raise UserError(
            "buckets belong to the joint stage of a run from nothing: leave out --init, or --buckets"
        )
    if init is not None:
        parts = load_parts(init)
        only = (
            grown_stage(parts, data, seed, size, num_frames) if grows else finetune_stage(parts, data, seed)
        )
        return Recipe(stages=[only], finish=lambda folder: _save(parts, [only], folder))
    parts = new_parts(preset)
    source: Callable[[BatchIndex], Batch] | None = FolderSource(data, seed) if data else None
    if data and buckets is not None:
        table = find_buckets(buckets, growth.reach(parts))
        source = BucketedFolder(open_dataset(data), table, seed=seed)
    if data:
        parts.prompt_style = "free"
    arms = [curated_stage(parts, source, arm) for arm in range(2)]
    stages = [
        codec_recipe.codec_stage(parts.codec),
        text_recipe.text_stage(AlignedText(parts.text)),
        picture_stage(parts),
        video_stage(parts, source, buckets=buckets),
        *([] if data else [words_stage(parts), spelling_stage(parts)]),
        *arms,
    ]
    return Recipe(stages=stages, finish=lambda folder: _save(parts, arms, folder))


def _save(parts: Parts, arms: Sequence[Stage], folder: Path) -> Path:
    parts.transformer.load_state_dict(average([arm.model for arm in arms]))
    path = folder / "model.safetensors"
    save_parts(parts, path)
    return path
