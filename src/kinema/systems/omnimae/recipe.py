"""OmniMAE at nano size: images and clips masked together, one network for both (2206.08356, section 3).

The paper's claim: one encoder that learns to fill in both kinds, with nine tenths of an image's patches dropped and
nineteen twentieths of a clip's, is as good for either as one that learned from that kind alone; no labels are needed.

    kinema train omnimae-nano --out runs/omnimae                 # the Small World
    kinema train omnimae-nano --data FOLDER --out runs/own       # pictures and clips of one's own, without labels

One stage. Each step is of one kind; each clip that is read serves four times, with other crops and other masks.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import MaskedAutoencoder
from kinema.systems.omnimae.data import SECONDS, Folder, JointBatches, Source, World, normalised
from kinema.systems.omnimae.model import OmniMAEConfig, autoencoder
from kinema.systems.omnimae.objective import CLIP_MASKED, IMAGE_MASKED, masking_loss
from kinema.train import Recipe, Stage, seed_everything
from kinema.vision import VisionFile, read_vision, save_vision
from kinema.vision.files import fill

STEPS = 2_400
BATCH = 64
CLIP_PART = 0.25  # a nano step on clips takes a quarter of the samples, which is as many tokens
SCALE = (0.5, 1.0)  # of a nano picture's area: a fifth of 64 pixels would be too few to see anything
HELD_OUT = 256


def joint_stage(
    model: MaskedAutoencoder,
    source: Source,
    preprocessing: Preprocessing,
    *,
    steps: int = STEPS,
    batch_size: int = BATCH,
    clip_part: float = CLIP_PART,
    scale: tuple[float, float] = SCALE,
    held_out: Source | None = None,
) -> Stage:
    """Masking on both kinds; AdamW as published, the rate raised for one step in twenty, then a half cosine."""

    def loss(
        network: nn.Module, batch: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(network, MaskedAutoencoder)
        return masking_loss(network, batch, generator, preprocessing)

    return Stage(
        name="joint",
        model=model,
        loss=loss,
        batches=JointBatches(source=source, preprocessing=preprocessing, clip_part=clip_part, scale=scale),
        steps=steps,
        batch_size=batch_size,
        lr=3e-3,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        schedule="cosine",
        warmup_steps=steps // 20,
        ema_decay=0.998 if steps > 2000 else 0.0,
        prefetch=1,
        log_every=50,
        checkpoint_every=500,
        validate=None if held_out is None else measured(held_out, preprocessing),
        validate_every=1000,
    )


def measured(
    source: Source, preprocessing: Preprocessing
) -> Callable[[nn.Module, Path], Mapping[str, float]]:
    """The loss on held-out pictures and clips, always with the same masks: 1 is a guess of each patch's mean colour."""

    def losses(network: nn.Module, folder: Path) -> Mapping[str, float]:
        assert isinstance(network, MaskedAutoencoder)
        device = next(network.parameters()).device
        found: dict[str, list[float]] = {}
        for start in range(0, HELD_OUT, 32):
            indices = range(start, start + 32)
            for pixels in (source.pictures(indices), source.clips(indices)):
                x = normalised(pixels, preprocessing).to(device)
                _, logs = masking_loss(network, x, torch.Generator().manual_seed(start), preprocessing)
                for name, value in logs.items():
                    found.setdefault(name, []).append(value.item())
        return {name: statistics.fmean(values) for name, values in found.items()}

    return losses


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """The stage and the file at its end; `init` goes on from a file that this recipe wrote.

    Raises:
        UserError: the preset is unknown, the folder has nothing to look at, or `init` is of another size.
    """
    seed_everything(seed)
    config = OmniMAEConfig.preset(preset)
    preprocessing = Preprocessing(size=config.image_size)
    model = autoencoder(config)
    if init is not None:
        _start_from(model, config, init)
    nano = preset == "nano"
    if data is None:
        seconds, facts = 2.0, {"trained_on": "the Small World"}
        source: Source = World(frames=config.frames, size=config.image_size)
        held_out = World(frames=config.frames, size=config.image_size, split="val")
    else:
        seconds, facts = SECONDS, {"trained_on": "a folder of pictures and clips"}
        source, held_out = Folder(data, config.frames, config.image_size, seconds, seed), None
    stage = joint_stage(
        model,
        source,
        preprocessing,
        clip_part=CLIP_PART if nano else 1.0,
        scale=SCALE if nano else (0.2, 1.0),
        held_out=held_out,
    )
    about = VisionFile(
        room="omnimae",
        network="autoencoder",
        config=config.to_dict(),
        preprocessing=preprocessing.to_dict(),
        facts={
            **facts,
            "clip_seconds": seconds,
            "image_masked": IMAGE_MASKED,
            "clip_masked": CLIP_MASKED,
            "seed": seed,
        },
    )
    return Recipe(stages=[stage], finish=lambda folder: _save(model, folder, about))


def _start_from(model: MaskedAutoencoder, config: OmniMAEConfig, path: Path) -> None:
    state, about = read_vision(path, "omnimae")
    if about.network != "autoencoder" or OmniMAEConfig.from_dict(about.config) != config:
        raise UserError(
            f"'{path.name}' is no masked autoencoder of the size that is to be trained: leave out --init, or train "
            "the preset that wrote it"
        )
    fill(model, state, path)
    model.train()


def _save(model: MaskedAutoencoder, folder: Path, about: VisionFile) -> Path:
    path = folder / "model.safetensors"
    save_vision(model, path, about)
    return path
