"""The third stage: a trained trunk becomes a classifier of a user's own classes, at a larger size (2303.13496, 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from kinema.data.preprocessing import Preprocessing
from kinema.data.tagged import TaggedPictures, crops, whole
from kinema.errors import UserError
from kinema.nn import VisionTransformer
from kinema.systems.maws.model import MawsConfig, transfer
from kinema.systems.maws.pipeline import open_trunk
from kinema.systems.maws.tagged import Order
from kinema.train import BatchIndex, Recipe, Stage, seed_everything
from kinema.train.layer_decay import layer_decay
from kinema.train.mixing import mixed, smooth_targets, soft_cross_entropy
from kinema.vision import VisionFile, save_vision

LARGER: Final = 1.5  # the side of finetuning, in sides of the trunk, in whole patches; 512 / 224 is 2.3
NANO_FILE: Final = Path(__file__).with_name("nano.safetensors")
CROPS: Final = (0.5, 1.0)


def larger(config: MawsConfig) -> int:
    """The side that a trunk is finetuned at: that of the released classifiers, or `LARGER` in whole patches."""
    if config.finetune_size != config.image_size:
        return config.finetune_size
    return round(LARGER * config.image_size / config.patch) * config.patch


def classifying_loss(
    model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy against smoothed classes, pictures mixed (mixup 0.8, CutMix 1), as MAE is finetuned."""
    images, labels = batch
    classes = model.head.out_features  # type: ignore[union-attr]
    images, targets = mixed(images, smooth_targets(labels, int(classes)), generator)  # type: ignore[arg-type]
    loss = soft_cross_entropy(model(images), targets)
    return loss, {"classes": loss.detach()}


def finetune_stage(
    trained: VisionTransformer,
    config: MawsConfig,
    shown: TaggedPictures,
    held: TaggedPictures,
    classes: tuple[str, ...],
    *,
    steps: int = 1000,
    batch_size: int = 64,
    lr: float = 1e-3,
    decay: float = 0.75,
) -> tuple[VisionTransformer, Stage]:
    """The new classifier, of `config`'s size and classes, and the stage that trains all of it.

    decay: of the learning rate from block to block towards the stem.
    """
    network = transfer(trained, config)
    preprocessing = Preprocessing(size=config.image_size, fit="stretch")
    labels = torch.tensor([classes.index(words[0]) for words in shown.words])
    order = Order(torch.ones(len(shown)), seed=3)

    def batches(index: BatchIndex) -> tuple[Tensor, Tensor]:
        places = order(index.indices)
        return crops(shown.read(places), preprocessing, repeat(index.generator()), CROPS), labels[places]

    def validate(model: nn.Module, folder: Path) -> Mapping[str, float]:
        images = whole(held.read(range(len(held))), preprocessing).to(next(model.parameters()).device)
        found = torch.cat([model(part) for part in images.split(64)]).argmax(1).tolist()
        return {
            "right": sum(classes[k] == words[0] for k, words in zip(found, held.words, strict=True))
            / len(held)
        }

    stage = Stage(
        name="classes",
        model=network,
        loss=classifying_loss,
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        lr_scales=layer_decay(network, decay),
        schedule="cosine",
        warmup_steps=steps // 20,
        validate=validate,
        validate_every=max(steps // 4, 1),
        log_every=20,
    )
    return network, stage


def classes_recipe(own: TaggedPictures, config: MawsConfig, init: Path | None, seed: int) -> Recipe:
    """Finetuning on pictures in one subfolder per class, from `init` or from kinema's own nano weights.

    A fifth of the pictures, by chance, is kept to measure with.

    Raises:
        UserError: there is nothing to start from, or it is of another size.
    """
    seed_everything(seed)
    if init is None and not (config == MawsConfig.preset("nano") and NANO_FILE.is_file()):
        raise UserError(
            "finetuning to classes needs a trained network: give the file of a run on tags with --init FILE"
        )
    trained = open_trunk(init or NANO_FILE)
    classes = tuple(sorted({words[0] for words in own.words}))
    config = dataclasses.replace(config.at(larger(config), len(classes)), drop_path=0.1)
    places = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed)).tolist()
    kept = max(1, len(own) // 5)
    network, stage = finetune_stage(
        trained, config, own.chosen(places[kept:]), own.chosen(places[:kept]), classes
    )

    def finish(folder: Path) -> Path:
        about = VisionFile(
            room="maws",
            network="vit",
            config=config.to_dict(),
            preprocessing=Preprocessing(size=config.image_size, fit="stretch").to_dict(),
            labels={"image": list(classes)},
            facts={"trained_on": own.about},
        )
        save_vision(network, folder / "model.safetensors", about)
        return folder / "model.safetensors"

    return Recipe(stages=[stage], finish=finish)
