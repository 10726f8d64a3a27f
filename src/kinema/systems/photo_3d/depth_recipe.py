"""Tiefenrausch at nano size, from nothing to eight bits (2008.12298, section 3).

The paper's claim: a small searched network, trained so that it can be rounded to eight bits, reads depth from a photo
about as well as ones of ten times its size.

    kinema train photo-3d-depth --out runs/depth

Stages: the float network on layered scenes, where every pixel's disparity is known; then its batch norms are folded
and it is trained on with weights and activations rounded, at a tenth of the rate; the ranges of activations are
followed for the first nine tenths of that and then stand still.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.mobile import folded
from kinema.systems.photo_3d.depth_losses import log_disparity_loss
from kinema.systems.photo_3d.depth_measures import scene_errors
from kinema.systems.photo_3d.depth_model import Tiefenrausch, TiefenrauschConfig, fold_norms
from kinema.systems.photo_3d.depth_scenes import DepthBatch, depth_batch
from kinema.systems.photo_3d.depth_weights import load_depth, save_depth
from kinema.systems.photo_3d.quantised import (
    add_quantisers,
    calibrate,
    round_weights,
    round_weights_while_training,
    set_mode,
)
from kinema.train import BatchIndex, Recipe, Stage, seed_everything

HEIGHT, WIDTH = 96, 128
FROZEN_FROM = 0.9  # of the eight-bit stage's steps
CALIBRATION = 8  # batches of 16 scenes for post-training eight bits


def depth_loss(
    model: nn.Module, batch: DepthBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scale-invariant and gradient loss on log disparity; half of the pictures mirrored."""
    pictures, disparity = batch.pictures, batch.disparity
    mirrored = torch.rand(len(pictures), generator=generator, device=generator.device) < 0.5
    mirrored = mirrored.to(pictures.device)[:, None, None, None]
    pictures = torch.where(mirrored, pictures.flip(3), pictures)
    disparity = torch.where(mirrored, disparity.flip(3), disparity)
    valid = torch.where(mirrored, batch.valid.flip(3), batch.valid)
    return log_disparity_loss(model(pictures).float(), disparity, valid)


def rounded_loss(
    model: nn.Module, batch: DepthBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same while weights and activations are rounded; the ranges stand still at the end of the stage."""
    set_mode(model, "round" if batch.progress >= FROZEN_FROM else "learn")
    return depth_loss(model, batch, generator)


def scenes(index: BatchIndex, steps: int, first: int = 0) -> DepthBatch:
    """Training scenes by their numbers, none shown twice."""
    numbers = [first + number for number in index.indices]
    return depth_batch(numbers, "train", HEIGHT, WIDTH, progress=index.step / steps)


def measured(model: nn.Module, folder: Path, count: int = 64) -> Mapping[str, float]:
    """Errors on held-out scenes, beside the constant's and the vertical gradient's."""
    batches = [depth_batch(range(k, k + 16), "val", HEIGHT, WIDTH) for k in range(0, count, 16)]
    return scene_errors(model, batches)


def float_stage(network: Tiefenrausch, steps: int = 3_600, batch_size: int = 16) -> Stage:
    """The network with its batch norms, on layered scenes."""
    return Stage(
        name="depth",
        model=network,
        loss=depth_loss,
        batches=lambda index: scenes(index, steps),
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        weight_decay=1e-4,
        schedule="cosine",
        warmup_steps=min(100, steps // 2),
        ema_decay=0.999 if steps > 2000 else 0.9,
        precision="fp32",
        prefetch=1,
        log_every=25,
        checkpoint_every=500,
        validate=measured,
        validate_every=1000,
    )


def rounded_stage(
    network: Tiefenrausch, trained: Tiefenrausch, steps: int = 800, batch_size: int = 16
) -> Stage:
    """Quantisation-aware training of `network`, which takes the folded weights of `trained` when the stage begins."""

    def prepare(model: nn.Module) -> None:
        plain = folded(trained.eval()).state_dict()
        model.load_state_dict({**model.state_dict(), **plain})

    stage = Stage(
        name="rounded",
        model=network,
        loss=rounded_loss,
        batches=lambda index: scenes(index, stage.steps, first=10_000_000),  # the steps may be overridden
        steps=steps,
        batch_size=batch_size,
        lr=2e-4,
        schedule="cosine",
        warmup_steps=min(20, steps // 2),
        precision="fp32",  # bfloat16 has fewer steps than what it is to be rounded to
        prefetch=1,
        log_every=25,
        checkpoint_every=300,
        validate=measured,
        prepare=prepare,
    )
    return stage


def new_rounded(config: TiefenrauschConfig) -> Tiefenrausch:
    """An untrained network without norms, with ranges for its activations and rounding for its weights."""
    network = add_quantisers(Tiefenrausch(dataclasses.replace(config, norm="bias")))
    round_weights_while_training(network)
    set_mode(network, "learn")
    return network


def post_training(trained: Tiefenrausch, batches: int = CALIBRATION) -> Tiefenrausch:
    """The trained float network in eight bits without training on: what the rounded stage is held against."""
    network = fold_norms(trained.eval())
    start = 20_000_000
    calibrate(
        network,
        (
            depth_batch(range(start + k * 16, start + k * 16 + 16), "train", HEIGHT, WIDTH).pictures
            for k in range(batches)
        ),
    )
    return network


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """The two stages; `init` begins the second one from a weight file and leaves out the first.

    Raises:
        UserError: a folder of data was given, since photos have no disparity to learn from.
    """
    if data is not None:
        raise UserError(
            "the depth network learns from drawn scenes, whose disparity is known: leave out --data"
        )
    seed_everything(seed)
    config = TiefenrauschConfig.preset(preset)
    if init is not None:
        start, _ = load_depth(init, "float")
        if dataclasses.replace(start.config, norm="batch") != config:
            raise UserError(f"the weights in '{init.name}' are not of the size {preset}: leave out --init")
        stages, trained = [], start
    else:
        trained = Tiefenrausch(config)
        stages = [float_stage(trained)]
    network = new_rounded(config)
    return Recipe(
        stages=[*stages, rounded_stage(network, trained)], finish=lambda folder: _save(network, folder)
    )


def _save(network: Tiefenrausch, folder: Path) -> Path:
    path = folder / "model.safetensors"
    round_weights(network)
    set_mode(network, "round")
    save_depth(network.eval(), path, "uint8", trained_on="layered scenes", long_side=WIDTH)
    return path
