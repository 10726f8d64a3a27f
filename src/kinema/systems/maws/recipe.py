"""MAWS from nothing: masked autoencoding, hashtags, transfer (2303.13496, sections 3 and 4).

The paper's claim: masked autoencoding on the same pictures, before they teach their hashtags, makes the network
converge faster and transfer better than hashtags alone.

    kinema train maws-nano --out runs/maws                                  # the Small World
    kinema train maws-nano --out runs/maws --data PHOTOS                    # own pictures, tags beside them
    kinema train maws-nano --out runs/birds --data BIRDS --init FILE        # finetune: one subfolder per class

Stages: `masked`, three quarters of the patches hidden, pixels normalised by patch; `tags`, the encoder with a linear
head against 1/K on each of a picture's K canonical hashtags, pictures of rare tags shown more often (square root).
Where the pictures lie in one subfolder per class, the only stage is `classes`: finetuning at a larger size from --init.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kinema.data.hashtags import Vocabulary, tag_targets
from kinema.data.preprocessing import Preprocessing
from kinema.data.tag_sampling import repeats, tag_prior
from kinema.data.tagged import TaggedPictures, crops, whole
from kinema.media.image import Image
from kinema.nn import MaskedAutoencoder, VisionTransformer
from kinema.systems.maws.finetuning import classes_recipe
from kinema.systems.maws.model import MawsConfig, autoencoder, encoder, transfer
from kinema.systems.maws.objective import MASKED, masking_loss
from kinema.systems.maws.pipeline import open_trunk
from kinema.systems.maws.plan import NANO, Plan, right_first
from kinema.systems.maws.reconstruction import reconstruct
from kinema.systems.maws.tagged import Order, folder_pictures, world_nouns, world_pictures
from kinema.train import BatchIndex, Recipe, Stage, seed_everything
from kinema.train.mixing import soft_cross_entropy
from kinema.vision import VisionFile, save_vision

SCENES: Final = 30_000  # of the Small World
HELD_OUT: Final = 256
SHOWN: Final = 8  # reconstructions in a picture
MIN_COUNT: Final = 40  # pictures that a tag of the Small World needs; one of own pictures needs 2
CROPS: Final = (0.5, 1.0)  # of the picture's area: 64 pixels have little room


def hashtag_loss(
    model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy against 1/K on each of K tags. The generator is not needed."""
    images, targets = batch
    loss = soft_cross_entropy(model(images), targets)
    return loss, {"tags": loss.detach()}


def masked_stage(
    model: MaskedAutoencoder, shown: TaggedPictures, held: TaggedPictures, size: int, plan: Plan
) -> Stage:
    """Pixels of what is hidden, without a word about the pictures."""
    preprocessing = Preprocessing(size=size)
    order = Order(torch.ones(len(shown)), seed=1)

    def batches(index: BatchIndex) -> Tensor:
        return crops(shown.read(order(index.indices)), preprocessing, repeat(index.generator()), CROPS)

    def validate(model: nn.Module, folder: Path) -> Mapping[str, float]:
        images, generator = (
            whole(held.read(range(len(held))), preprocessing),
            torch.Generator().manual_seed(0),
        )
        device = next(model.parameters()).device
        loss, _ = masking_loss(model, images.to(device), generator)  # type: ignore[arg-type]
        mean, std = (
            torch.tensor(v, device=device).view(3, 1, 1) for v in (preprocessing.mean, preprocessing.std)
        )
        drawn = reconstruct(model, images[:SHOWN].to(device), generator, MASKED, mean, std)  # type: ignore[arg-type]
        Image(drawn.sheet().cpu().numpy()).write(folder / "reconstruction.png", overwrite=True)
        return {"masked_pixels": float(loss)}

    return Stage(
        name="masked",
        model=model,
        loss=lambda model, images, generator: masking_loss(model, images, generator),  # type: ignore[arg-type]
        batches=batches,
        steps=plan.masked_steps,
        batch_size=plan.masked_batch,
        lr=plan.masked_lr,
        weight_decay=0.05,
        schedule="cosine",
        warmup_steps=min(100, plan.masked_steps // 20),
        clip_norm=None,
        validate=validate,
        validate_every=max(plan.masked_steps // 4, 1),
        log_every=50,
    )


def tags_stage(
    model: VisionTransformer,
    trained: VisionTransformer,
    shown: TaggedPictures,
    held: TaggedPictures,
    vocabulary: Vocabulary,
    config: MawsConfig,
    plan: Plan,
) -> Stage:
    """Hashtags; `model` takes over `trained`, all but its head, when the stage begins."""
    preprocessing = Preprocessing(size=config.image_size)
    numbers = [vocabulary.encode(words) for words in shown.words]
    order = Order(repeats(numbers, vocabulary.counts), seed=2)

    def batches(index: BatchIndex) -> tuple[Tensor, Tensor]:
        places = order(index.indices)
        images = crops(shown.read(places), preprocessing, repeat(index.generator()), CROPS)
        return images, tag_targets([numbers[place] for place in places], len(vocabulary))

    def prepare(model: nn.Module) -> None:
        model.load_state_dict(transfer(trained, config).state_dict())

    return Stage(
        name="tags",
        model=model,
        loss=hashtag_loss,
        batches=batches,
        steps=plan.tags_steps,
        batch_size=plan.tags_batch,
        lr=plan.tags_lr,
        weight_decay=plan.tags_decay,
        schedule="linear",
        warmup_steps=plan.tags_steps // 20,
        prepare=prepare,
        validate=lambda model, folder: right_first(model, held, vocabulary, preprocessing),
        validate_every=max(plan.tags_steps // 8, 1),
        log_every=50,
    )


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """The stages of a run; with `init` (a file of this room) its encoder takes the place of the first.

    Raises:
        UserError: the folder or the file cannot be used.
    """
    seed_everything(seed)
    config = MawsConfig.preset(preset)
    if data is None:
        shown = world_pictures(SCENES, config.image_size)
        held = world_pictures(HELD_OUT, config.image_size, "val", right=True)
    else:
        own, kind = folder_pictures(data, config.image_size)
        if kind == "classes":
            return classes_recipe(own, config, init, seed)
        last = max(1, min(HELD_OUT, len(own) // 20))  # at least one stays for training
        shown, held = own.chosen(range(max(1, len(own) - last))), own.chosen(range(len(own) - last, len(own)))
    vocabulary = Vocabulary.build(shown.words, min_count=2)
    if data is None:
        vocabulary = Vocabulary.build(shown.words, keep=world_nouns(), min_count=MIN_COUNT)
    tagged = [place for place, words in enumerate(shown.words) if vocabulary.encode(words)]
    shown = shown.chosen(tagged)
    plan = NANO if preset == "nano" else Plan()
    config = config.at(config.image_size, len(vocabulary))
    network, stages, masked = encoder(config), list[Stage](), None
    if init is None:
        masked = autoencoder(config)
        stages, trained = [masked_stage(masked, shown, held, config.image_size, plan)], masked.encoder
    else:
        trained = open_trunk(init)
    stages.append(tags_stage(network, trained, shown, held, vocabulary, config, plan))
    numbers = [vocabulary.encode(words) for words in shown.words]
    prior = tag_prior(numbers, repeats(numbers, vocabulary.counts), len(vocabulary))
    facts = {
        "trained_on": shown.about,
        "prior": [round(share, 7) for share in prior.tolist()],
        "aliases": dict(vocabulary.aliases),
    }
    about = VisionFile(
        room="maws",
        network="vit",
        config=config.to_dict(),
        preprocessing=Preprocessing(size=config.image_size).to_dict(),
        labels={"image": list(vocabulary.tags)},
        facts=facts,
    )
    return Recipe(stages=stages, finish=lambda folder: _save(network, masked, folder, about))


def _save(
    network: VisionTransformer, masked: MaskedAutoencoder | None, folder: Path, about: VisionFile
) -> Path:
    """The tagger; and beside it the first stage with its decoder, which reconstructs."""
    if masked is not None:
        plain: dict[str, Any] = {"labels": {}, "facts": {}, "network": "autoencoder"}
        plain["config"] = dict(about.config) | {"num_classes": 0}
        save_vision(masked, folder / "autoencoder.safetensors", dataclasses.replace(about, **plain))
    path = folder / "model.safetensors"
    save_vision(network, path, about)
    return path
