"""From one resolution to the next (2410.13720, the stages from 256 to 768 px): grown tables, then a stage of its own.

    kinema train movie-gen-video --init nano --size 96 --out runs/nano-96

The position tables are interpolated, so that every place of the picture keeps its position; all else stays as it was.
The stage goes on with a lower rate, and the rate halves when the held-out loss has gone flat.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.data import open_dataset
from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import Grid
from kinema.systems.movie_gen.video.parts import Parts
from kinema.systems.movie_gen.video.sources import BucketedFolder, BucketedWorld, one_size
from kinema.systems.movie_gen.video.validation import METRIC, HeldOutLoss, folder_clips, world_clips
from kinema.train import BatchIndex, Stage
from kinema.world.batches import WorldClips
from kinema.world.scene import WorldSpec

Loss = Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, dict[str, Tensor]]]
Validate = Callable[[nn.Module, Path], dict[str, float]]
FEW_CLIPS = 40  # of a folder with fewer none is held out, and the plateau watches the training loss


def reach(parts: Parts) -> Grid:
    """Frames, height and width of the largest clip that the transformer takes in one piece."""
    cells, strides = parts.transformer.config.grid, parts.codec.spec.strides
    return cells[0] * strides[0], cells[1] * strides[1], cells[2] * strides[2]


def grow(parts: Parts, size: int | None = None, num_frames: int | None = None) -> Grid:
    """Put a transformer whose tables reach further in place of `parts.transformer`; returns its `reach`.

    Args:
        size: the new height and width in pixels; None leaves both.
        num_frames: the new number of frames; None leaves it.

    Raises:
        UserError: the new size is not larger, or cannot be cut into latent cells and patches.
    """
    old, strides, patch = reach(parts), parts.codec.spec.strides, parts.transformer.config.patch
    frames = old[0] if num_frames is None else num_frames
    new = (frames, *old[1:]) if size is None else (frames, size, size)
    names = ("num_frames", "size", "size")
    for name, length, before, stride, step in zip(names, new, old, strides, patch, strict=True):
        if length < before:
            raise UserError(
                f"{name} is {length} and these weights already reach {before}: a model grows, it does not shrink"
            )
        if length % (stride * step):
            near = -(-length // (stride * step)) * stride * step
            raise UserError(f"{name} is {length} and must be a multiple of {stride * step}: try {near}")
    if new == old:
        raise UserError(
            f"these weights already reach {old[0]} frames of {old[1]}x{old[2]}: ask for a larger size or more frames"
        )
    time, height, width = (length // stride for length, stride in zip(new, strides, strict=True))
    parts.transformer = parts.transformer.grown((time, height, width))
    return reach(parts)


def growth_stage(
    parts: Parts,
    loss: Loss,
    source: Callable[[BatchIndex], Any],
    validate: Validate | None,
    **settings: Any,
) -> Stage:
    """The stage at the new size: a third of the rate that `video` has, halved when the held-out loss goes flat."""
    defaults: dict[str, Any] = {
        "steps": 600,
        "batch_size": 16,
        "optimizer": "muon",
        "lr": 6e-4,
        "betas": (0.9, 0.95),
        "weight_decay": 0.01,
        "schedule": "plateau",
        "plateau_metric": METRIC if validate is not None else None,
        "plateau_patience": 1,
        "plateau_threshold": 2e-3,
        "warmup_steps": 20,
        "ema_decay": 0.98,
        "log_every": 25,
        "checkpoint_every": 100,
        "validate_every": 50,
        "prefetch": 2,
        "compile": True,
    }
    return Stage(
        name="grown",
        model=parts.transformer,
        loss=loss,
        batches=source,
        validate=validate,
        **{**defaults, **settings},
    )


def grown_on_world(
    parts: Parts, loss: Loss, spec: WorldSpec, *, held_out: int = 64, picture_every: int = 11, **settings: Any
) -> Stage:
    """The stage on a world's clips, and pictures, of the size that the transformer reaches."""
    frames, height, width = reach(parts)
    source = BucketedWorld(spec, one_size(height, width, frames), picture_every=picture_every)
    unseen = WorldClips(spec=spec, split="val", num_frames=frames, height=height, width=width)
    return growth_stage(parts, loss, source, HeldOutLoss(parts, world_clips(unseen, held_out)), **settings)


def grown_on_folder(parts: Parts, loss: Loss, data: Path, *, seed: int = 0, **settings: Any) -> Stage:
    """The stage on captioned clips of a folder, shards or a table; one in twenty is held out where there are enough."""
    frames, height, width = reach(parts)
    dataset, validate = open_dataset(data), None
    if len(dataset) >= FEW_CLIPS:
        unseen = dataset.split("heldout")
        dataset = dataset.split("train")
        load = folder_clips(unseen, num_frames=frames, height=height, width=width)
        validate = HeldOutLoss(parts, load)
    parts.prompt_style = "free"
    source = BucketedFolder(dataset, one_size(height, width, frames), seed=seed)
    return growth_stage(parts, loss, source, validate, **settings)
