"""From hashtags to classes: finetuning at a larger size, and a linear head on the frozen trunk (2201.08371)."""

# N pictures, B batch, C classes, S side

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from kinema.data.folder import class_files
from kinema.data.preprocessing import Preprocessing
from kinema.data.sample import IMAGE_EXTENSIONS
from kinema.data.tagged import Reader, file_reader, whole
from kinema.errors import UserError
from kinema.eval.probes import accuracy, best_linear
from kinema.systems.swag.model import Config, Network, at, transfer
from kinema.systems.swag.tagged import augmented
from kinema.train import BatchIndex, Stage, shuffled
from kinema.train.mixing import soft_cross_entropy

HELD_OUT: Final = 8  # one picture in so many of every class is not learned from


@dataclass(frozen=True)
class ClassPictures:
    """labels int64 (N,). read: places to pixels, uint8 (3, H, W) each, of any size."""

    labels: Tensor
    classes: tuple[str, ...]
    read: Reader


@dataclass
class ClassBatch:
    """pixels (B, 3, S, S), normalised; targets (B, C), rows add up to 1."""

    pixels: Tensor
    targets: Tensor


def class_folder(folder: Path, size: int) -> ClassPictures:
    """Pictures in one subfolder per class, whose name is the class's.

    Raises UserError where fewer than two subfolders hold pictures.
    """
    found = {
        name: [file for file in files if file.suffix[1:].lower() in IMAGE_EXTENSIONS]
        for name, files in class_files(folder).items()
    }
    full = {name: files for name, files in found.items() if files}
    if len(full) < 2:
        raise UserError(f"the subfolders of '{folder}' hold clips alone: SWAG learns from pictures")
    labels = [number for number, files in enumerate(full.values()) for _ in files]
    files = [file for each in full.values() for file in each]
    return ClassPictures(torch.tensor(labels), tuple(full), file_reader(files, size))


class ClassBatches:
    """Batches for the loop, every picture once an epoch; and what was held out."""

    def __init__(self, data: ClassPictures, preprocessing: Preprocessing) -> None:
        self.data, self.preprocessing = data, preprocessing
        held = torch.zeros(len(data.labels), dtype=torch.bool)
        for label in range(len(data.classes)):
            own = (data.labels == label).nonzero()[:, 0]
            held[own[HELD_OUT - 1 :: HELD_OUT]] = True
        self.kept, self.held = ((~held).nonzero()[:, 0].tolist(), held.nonzero()[:, 0].tolist())

    def __call__(self, index: BatchIndex) -> ClassBatch:
        places = [self.kept[place] for place in shuffled(index.indices, len(self.kept), index.seed)]
        seeds = [f"{index.seed}:{number}" for number in index.indices]
        targets = torch.eye(len(self.data.classes))[self.data.labels[places]]
        return ClassBatch(augmented(self.data.read(places), self.preprocessing, seeds), targets)

    def validate(self, model: nn.Module, folder: Path) -> Mapping[str, float]:
        """Accuracy on what was held out."""
        if not self.held:
            return {}
        scores = torch.cat(
            [
                model(whole([picture], self.preprocessing).to(next(model.parameters()).device)).cpu()
                for picture in self.data.read(self.held)
            ]
        )
        return {"accuracy": accuracy(scores, self.data.labels[self.held])}


def finetune_loss(
    model: nn.Module, batch: ClassBatch, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy with the classes; the generator is not needed."""
    logits = model(batch.pixels)
    right = (logits.argmax(1) == batch.targets.argmax(1)).float().mean()
    return soft_cross_entropy(logits, batch.targets), {"accuracy": right}


def finetune_stage(
    trained: Network, config: Config, data: ClassPictures, size: int, *, steps: int, batch_size: int = 32
) -> tuple[Stage, Config]:
    """All weights on classes, at a larger size than the tags were learned at; the head is new.

    Returns the stage, whose model is the new network, and that network's config.
    """
    larger = at(config, len(data.classes), size)
    batches = ClassBatches(data, Preprocessing(size=size))
    stage = Stage(
        name="finetune",
        model=transfer(trained, larger),
        loss=finetune_loss,
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        optimizer="sgd",
        lr=0.01,
        betas=(0.9, 0.95),
        schedule="cosine",
        warmup_steps=min(20, steps // 5),
        clip_norm=1.0,
        prefetch=1,
        validate=batches.validate,
        validate_every=200,
    )
    return stage, larger


@torch.no_grad()
def with_linear_head(trained: Network, config: Config, pixels: Tensor, labels: Tensor) -> Network:
    """The frozen trunk of `trained` with the best linear classifier of its features, in eval mode.

    Args:
        pixels: normalised (N, 3, S, S), all classes among them.
    """
    features = torch.cat([trained.eval().features(part) for part in pixels.split(64)])
    found = best_linear(features, labels)
    network = transfer(trained, at(config, len(found.weights)))
    assert network.head is not None
    weights = found.weights / found.std  # standardising is linear, too
    network.head.weight.copy_(weights)
    network.head.bias.copy_(found.biases - weights @ found.mean)
    return network.eval()
