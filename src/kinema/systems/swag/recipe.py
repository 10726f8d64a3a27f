"""SWAG: learn to see by predicting the hashtags of pictures (2201.08371, sections 3 and 4).

The paper's claim: hashtags, which cost nothing, train networks that transfer better than self-supervision does.

    kinema train swag-nano --out runs/swag                      # scenes of the Small World and their noisy hashtags
    kinema train swag-nano --out runs/mine --data photos        # pictures with tags beside them
    kinema train swag-nano --out runs/classes --data classes    # finetuning: one subfolder per class

One softmax over all canonical tags, 1/K on each of a picture's K; pictures are resampled by the inverse square root of
how frequent their rarest tag is. RegNets with Nesterov's SGD, transformers with AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kinema.data.folder import media_files
from kinema.data.preprocessing import Preprocessing
from kinema.data.tagged import has_tags
from kinema.eval.probes import accuracy
from kinema.systems.swag.model import Config, Network, RegNetConfig, ViTConfig, at, build, preset, transfer
from kinema.systems.swag.pipeline import load
from kinema.systems.swag.tagged import EncodedPictures, TagBatch, TagBatches, scene_pictures, tagged_folder
from kinema.systems.swag.transfer import class_folder, finetune_stage
from kinema.systems.swag.zero_shot import KnownTags, tag_classes, zero_shot
from kinema.train import Recipe, Stage, seed_everything
from kinema.train.mixing import soft_cross_entropy
from kinema.vision import VisionFile, save_vision
from kinema.world.atlas import artworks
from kinema.world.pictures import object_names, pictures
from kinema.world.scene import WorldSpec

SCENES: Final = 40_000  # that the nano network's tags come from
HELD_OUT: Final = 512  # scenes of validation


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What differs between sizes. size, larger: pixels while tags are learned, and for finetuning."""

    size: int
    larger: int
    steps: int
    batch_size: int
    optimizer: dict[str, Any]


SGD: Final = {"optimizer": "sgd", "betas": (0.9, 0.95), "weight_decay": 1e-5, "clip_norm": None}
ADAMW: Final = {"optimizer": "adamw", "betas": (0.9, 0.95), "weight_decay": 0.1, "clip_norm": 1.0}
NANO: Final = {
    "nano": Settings(size=64, larger=96, steps=1200, batch_size=128, optimizer=SGD | {"lr": 0.4}),
    "nano_vit": Settings(size=32, larger=48, steps=3000, batch_size=128, optimizer=ADAMW | {"lr": 1e-3}),
}
LARGER: Final = {"vit_l16": 512, "vit_h14": 518}  # the others are finetuned at 384


def settings(name: str) -> Settings:
    """Of a preset: for published sizes the paper's, 5 billion pictures in batches of 8192."""
    if name in NANO:
        return NANO[name]
    convolutional = isinstance(preset(name), RegNetConfig)
    optimizer = SGD | {"lr": 0.1 * 8192 / 256} if convolutional else ADAMW | {"lr": 4e-4}
    return Settings(
        size=224, larger=LARGER.get(name, 384), steps=610_000, batch_size=8192, optimizer=optimizer
    )


def tag_loss(
    model: nn.Module, batch: TagBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy with 1/K on each of K tags. hit: how often the best guess is one of them. No randomness."""
    logits = model(batch.pixels)
    hit = (batch.targets.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean()
    return soft_cross_entropy(logits, batch.targets), {"hit": hit}


def object_words() -> dict[str, tuple[str, ...]]:
    """The objects of training scenes, and the words that mean each: its name first."""
    return {
        name: (name, *(word for art in artworks() if art.name == name for word in art.tags))
        for name in object_names(WorldSpec())
    }


@torch.no_grad()
def validate(
    model: nn.Module, folder: Path, known: KnownTags, size: int, count: int = HELD_OUT
) -> Mapping[str, float]:
    """Objects of held-out scenes by zero-shot transfer, with and without the prior's correction."""
    classes = tag_classes(known.vocabulary, {name: words[:1] for name, words in object_words().items()})
    shown = pictures(range(count), "val", size)
    labels = shown.labels("object", classes.names)
    device = next(model.parameters()).device
    x = Preprocessing(size=size).normalise(shown.pixels[:, :, 0].float() / 255).to(device)
    logits = torch.cat([model(part).float().cpu() for part in x.split(64)])
    return {
        "object": accuracy(zero_shot(logits, classes), labels),
        "object_corrected": accuracy(zero_shot(logits, classes, known.prior), labels),
    }


def tag_stage(network: Network, batches: TagBatches, given: Settings) -> Stage:
    """Pre-training on tags."""
    return Stage(
        name="tags",
        model=network,
        loss=tag_loss,
        batches=batches,
        steps=given.steps,
        batch_size=given.batch_size,
        schedule="linear" if given.optimizer["optimizer"] == "adamw" else "cosine",
        warmup_steps=given.steps // 20,
        prefetch=1,
        log_every=25,
        checkpoint_every=500,
        **given.optimizer,
    )


def recipe(preset: str = "nano", data: Path | None = None, seed: int = 0, init: Path | None = None) -> Recipe:
    """One stage: `tags`, or `finetune` where `data` is a folder of classes. `init`: a file to take the trunk from.

    Raises:
        UserError: the folder has neither tags nor classes, or `init` is of another size.
    """
    seed_everything(seed)
    given, start = settings(preset), _started(preset, init)
    if data is not None and not has_tags(data, media_files(data)):
        shown = class_folder(data, given.larger)
        stage, config = finetune_stage(
            start(0),
            _config(preset, given.size),
            shown,
            given.larger,
            steps=max(100, 10 * len(shown.labels) // 32),
        )
        about = partial(_about, config, given.larger, shown.classes, {"trained_on": "classes"})
        return Recipe(stages=[stage], finish=partial(_save, stage.model, about))
    tagged = scene_pictures(SCENES, given.size) if data is None else tagged_folder(data, given.size)
    return tag_recipe(start(len(tagged.vocabulary)), _config(preset, given.size), tagged, given, data is None)


def tag_recipe(
    network: Network, config: Config, tagged: EncodedPictures, given: Settings, scenes: bool
) -> Recipe:
    """Pre-training of a network on these pictures. scenes: whether they are drawn, and can be validated."""
    batches = TagBatches(tagged, Preprocessing(size=given.size))
    stage, known = tag_stage(network, batches, given), KnownTags(tagged.vocabulary, batches.prior)
    if scenes:
        stage.validate, stage.validate_every = partial(validate, known=known, size=given.size), 500
    facts = {"trained_on": "scenes" if scenes else "a folder"} | known.facts()
    config = at(config, len(tagged.vocabulary))
    about = partial(_about, config, given.size, tagged.vocabulary.tags, facts)
    return Recipe(stages=[stage], finish=partial(_save, network, about))


def _config(name: str, size: int) -> Config:
    return at(preset(name), 0, size)


def _started(name: str, init: Path | None) -> Callable[[int], Network]:
    """What makes the network for so many outputs."""
    config = _config(name, settings(name).size)
    if init is None:
        return lambda outputs: build(at(config, outputs))
    found: Any = load(init)
    return lambda outputs: transfer(found.network, at(config, outputs))


def _about(config: Config, size: int, labels: tuple[str, ...], facts: Mapping[str, Any]) -> VisionFile:
    return VisionFile(
        room="swag",
        network="vit" if isinstance(config, ViTConfig) else "regnet",
        config=config.to_dict(),
        preprocessing=Preprocessing(size=size).to_dict(),
        labels={"image": list(labels)},
        facts=facts,
    )


def _save(network: nn.Module, about: Callable[[], VisionFile], folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_vision(network, path, about())
    return path
