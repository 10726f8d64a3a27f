"""From masked pre-training to a classifier of pictures or of clips (2206.08356, section 4, appendix).

    network = finetuned_from(pretrained, config, len(batches.classes))
    run_stages([finetuning_stage(network, batches)], "runs/motions")

Learning rates fall from the head to the stem. As in the published code, even the head's is one factor below the
stage's own, and the last block's two.
"""

# B batch, C classes, T frames, S side

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from kinema.data.crops import random_flip, random_resized_crop
from kinema.data.preprocessing import Preprocessing
from kinema.nn import VisionTransformer
from kinema.systems.omnimae.data import normalised
from kinema.systems.omnimae.model import OmniMAEConfig
from kinema.train import BatchIndex, Stage, shuffled
from kinema.train.layer_decay import layer_decay
from kinema.train.mixing import smooth_targets, soft_cross_entropy
from kinema.vision import VisionFile, save_vision
from kinema.world import atlas
from kinema.world.pictures import Rendered, clips, object_names, pictures
from kinema.world.scene import DIRECTIONS, MOTIONS, WorldSpec

MOVING: Final = ("motion", "direction")  # what a picture cannot show
LAYER_DECAY: Final = 0.75
WORLD: Final = WorldSpec(vocabulary="nano")


@dataclass(frozen=True, kw_only=True)
class FinetuningBatches:
    """Labelled scenes of the Small World: pictures of an `object` or `family`, clips of a `motion` or `direction`.

    pool: how many training scenes there are; each epoch sees them in another order, cropped anew.
    """

    attribute: Literal["object", "family", "motion", "direction"]
    preprocessing: Preprocessing
    frames: int = 8
    pool: int = 2048
    spec: WorldSpec = WORLD
    scale: tuple[float, float] = (0.5, 1.0)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names that labels count."""
        if self.attribute == "object":
            return object_names(self.spec)
        if self.attribute == "family":
            return tuple(sorted({atlas.artworks()[index].family for index in self.spec.objects}))
        return tuple(MOTIONS) if self.attribute == "motion" else DIRECTIONS

    @cached_property
    def scenes(self) -> Rendered:
        """All of them, drawn once."""
        size = self.preprocessing.size
        if self.attribute in MOVING:
            return clips(range(self.pool), "train", self.frames, size, self.spec)
        return pictures(range(self.pool), "train", size, self.spec)

    @cached_property
    def labels(self) -> Tensor:
        """Of all scenes: int64 (pool,)."""
        return self.scenes.labels(self.attribute, self.classes)

    def __call__(self, index: BatchIndex) -> tuple[Tensor, Tensor]:
        """Normalised pixels (B, 3, S, S) or (B, 3, T, S, S), and smoothed targets (B, C). Clips are not mirrored."""
        places = torch.tensor(shuffled(index.indices, self.pool, index.seed))
        generator, size = index.generator("views"), self.preprocessing.size
        unit = self.scenes.pixels[places].float() / 255
        views = torch.stack(
            [random_resized_crop(one, size, generator, self.scale).clamp(0, 1) for one in unit]
        )
        if self.attribute not in MOVING:
            views = torch.stack([random_flip(one, generator) for one in views[:, :, 0]])
        return normalised(views, self.preprocessing), smooth_targets(self.labels[places], len(self.classes))

    def save(self, network: nn.Module, config: OmniMAEConfig, path: Path) -> None:
        """A weight file that `kinema.load("omnimae", weights=...)` opens, with the names of the classes."""
        kind = "video" if self.attribute in MOVING else "image"
        about = VisionFile(
            room="omnimae",
            network="classifier",
            config=config.to_dict(),
            preprocessing=self.preprocessing.to_dict(),
            labels={kind: self.classes},
            facts={"clip_seconds": self.spec.duration},
        )
        save_vision(network, path, about)


def finetuning_loss(
    network: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy with smoothed labels."""
    pixels, targets = batch
    return soft_cross_entropy(network(pixels), targets), {}


def finetuning_stage(
    network: VisionTransformer,
    batches: FinetuningBatches,
    *,
    steps: int = 600,
    batch_size: int = 64,
    lr: float = 2e-3,
    decay: float = LAYER_DECAY,
) -> Stage:
    """AdamW with rates that fall by `decay` a layer; stochastic depth is the network's own (`finetuned_from`)."""
    return Stage(
        name="finetuning",
        model=network,
        loss=finetuning_loss,
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        lr_scales=layer_decay(network, decay, head=decay),
        schedule="cosine",
        warmup_steps=steps // 8,
        log_every=25,
    )
