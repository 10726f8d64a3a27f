"""ViT_C at nano size says what kind of thing a picture shows, by the paper's recipe (2106.14881, appendix).

The paper's claim: with small convolutions in place of patches the same recipe trains a vision transformer faster, and
over a wide range of settings.

    kinema train early-conv-nano --out runs/kinds
    kinema train early-conv-nano --preset nano_p --out runs/patches     # the same behind patches
    kinema train early-conv-nano --data PICTURES --out runs/mine        # one subfolder for each class

One stage: AdamW without decay on norms and biases, linear warm-up and half a cosine, label smoothing, averaged weights;
AutoAugment, mixup and CutMix where pictures come again, in a folder. At the end the batch norms' statistics are
measured once more with those weights, on pictures that are not mixed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kinema.data.augment import auto_augment
from kinema.data.crops import random_flip, random_resized_crop
from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import VisionTransformer
from kinema.systems.early_conv.model import EarlyConvConfig, build, init_weights
from kinema.systems.early_conv.pipeline import ROOM, read_network
from kinema.systems.early_conv.sources import Source, own_folder, small_world
from kinema.train import BatchIndex, Recipe, Stage, seed_everything
from kinema.train.mixing import mixed, smooth_targets, soft_cross_entropy
from kinema.vision import VisionFile, save_vision

SMOOTHING, MIXUP, CUTMIX = 0.1, 0.8, 1.0  # the paper's
CROPS = (0.5, 1.0)  # of a picture's area
RECALIBRATION = 32  # batches


class Labelled(NamedTuple):
    """images (B, 3, S, S), normalised, the numbers of their classes (B,), and how many classes there are."""

    images: Tensor
    labels: Tensor
    classes: int


def cropped(source: Source, index: BatchIndex, prepare: Preprocessing) -> Labelled:
    """Training pictures of this step, each a random crop and half of the time mirrored."""
    pixels, labels = source.training(index.indices)
    generator = index.generator("crops")
    images = []
    for picture in pixels:
        crop = random_resized_crop(picture.float() / 255, prepare.size, generator, CROPS)
        crop = random_flip(crop, generator)
        images.append(auto_augment(crop.clamp(0, 1), generator) if source.repeats else crop)
    return Labelled(prepare.normalise(torch.stack(images)), labels, len(source.classes))


def smoothed_loss(
    model: nn.Module, batch: Labelled, generator: torch.Generator, mixing: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy with smoothed labels, over a batch that may be mixed with itself."""
    targets = smooth_targets(batch.labels, batch.classes, SMOOTHING)
    images = batch.images
    if mixing:
        images, targets = mixed(images, targets, generator, MIXUP, CUTMIX)
    loss = soft_cross_entropy(model(images), targets)
    return loss, {"cross_entropy": loss.detach()}


class Measured:
    """Accuracy on what was held out, in percent; the pictures are read once, when they are needed first."""

    def __init__(self, source: Source, prepare: Preprocessing) -> None:
        self.source, self.prepare = source, prepare
        self.batch: Labelled | None = None

    def __call__(self, model: nn.Module, folder: Path) -> Mapping[str, float]:
        """What a stage's `validate` gives."""
        if self.batch is None:
            pixels, labels = self.source.held_out()
            images = [self.prepare.image(picture.permute(1, 2, 0).numpy()) for picture in pixels]
            self.batch = Labelled(torch.stack(images), labels, len(self.source.classes))
        place = next(model.parameters()).device
        guesses = torch.cat([model(part.to(place)).argmax(1).cpu() for part in self.batch.images.split(128)])
        return {"accuracy": 100 * float((guesses == self.batch.labels).float().mean())}


def picture_stage(
    network: VisionTransformer,
    source: Source,
    prepare: Preprocessing,
    steps: int = 2_000,
    batch_size: int = 128,
    lr: float = 2e-3,
) -> Stage:
    """The one stage. Rate and decay are about those of the paper's small models, at its batch of 2048."""
    return Stage(
        name="pictures",
        model=network,
        loss=partial(smoothed_loss, mixing=source.repeats),
        batches=lambda index: cropped(source, index, prepare),
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        betas=(0.9, 0.999),
        weight_decay=0.2,
        clip_norm=None,
        schedule="cosine",
        warmup_steps=min(100, steps // 4),
        ema_decay=0.998 if steps >= 1000 else 0.95,
        prefetch=1,
        log_every=25,
        checkpoint_every=500,
        validate=Measured(source, prepare),
        validate_every=500,
    )


@torch.no_grad()
def measure_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give every batch norm the mean statistics of these batches (B, 3, S, S), with the weights as they are now."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    network.train()
    for images in batches if norms else ():
        network(images)
    network.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def start(preset: str, classes: int, init: Path | None) -> tuple[VisionTransformer, EarlyConvConfig]:
    """A new network, or that of a weight file with a new head where it has other classes.

    Raises:
        UserError: the file is of another size than the preset.
    """
    config = dataclasses.replace(EarlyConvConfig.preset(preset), num_classes=classes)
    if init is None:
        return build(config), config
    given, found, _ = read_network(init)
    if dataclasses.replace(found, num_classes=classes) != config:
        raise UserError(f"the weights in '{init.name}' are not of the size {preset}: use --init none")
    if found.num_classes == classes:
        return given, config
    network = build(config)
    init_weights(network)
    own = {name: value for name, value in given.state_dict().items() if not name.startswith("head.")}
    network.load_state_dict({**network.state_dict(), **own})
    return network, config


def recipe(
    preset: str = "nano_c", data: Path | None = None, seed: int = 0, init: Path | None = None
) -> Recipe:
    """The stage of a run and the file that it ends with; `nano` is `nano_c`.

    Args:
        data: a folder with one subfolder of pictures for each class; None takes the Small World.
        init: a weight file to start from.
    """
    seed_everything(seed)
    preset = "nano_c" if preset == "nano" else preset
    prepare = Preprocessing(size=EarlyConvConfig.preset(preset).image_size)
    source = small_world(prepare.size) if data is None else own_folder(data, prepare.size, seed)
    network, config = start(preset, len(source.classes), init)
    stage = picture_stage(network, source, prepare)

    def finish(folder: Path) -> Path:
        place = next(network.parameters()).device
        steps = (
            stage.microbatch(stage.steps + k, 0, rank=0, world=1, seed=seed) for k in range(RECALIBRATION)
        )
        measure_norms(network, (cropped(source, step, prepare).images.to(place) for step in steps))
        about = VisionFile(
            room=ROOM,
            network="vit",
            config=config.to_dict(),
            preprocessing=prepare.to_dict(),
            labels={"image": source.classes},
            facts={"trained_on": source.about, "steps": stage.steps, "batch_size": stage.batch_size},
        )
        path = folder / "model.safetensors"
        save_vision(network, path, about)
        return path

    return Recipe(stages=[stage], finish=finish)
