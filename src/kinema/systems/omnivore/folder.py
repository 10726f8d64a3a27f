"""A folder of the user's own as sources for Omnivore: one subfolder per class, with pictures, clips, or both in it.

    mine/cat/1.jpg  mine/cat/2.mp4  mine/dog/1.jpg  mine/dog/1_depth.png

A picture with a depth file beside it, named as `kinema depth` names it, is RGB-D. Each kind has the classes that it
occurs in. Every tenth file of a class and kind is held out. All samples are kept in memory, at the network's size.
"""

# N samples, T frames, S side

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema.data.folder import class_files
from kinema.errors import UserError
from kinema.media.depth_files import EXTENSIONS as DEPTH_EXTENSIONS
from kinema.systems.omnivore.model import Kind
from kinema.systems.omnivore.pipeline import views
from kinema.systems.omnivore.preprocessing import OmnivorePreprocessing
from kinema.systems.omnivore.sources import Samples, Source, cropped, tinted
from kinema.train.log import logger
from kinema.vision import read_media

MOST_REPEATS: Final = 10.0  # of a kind with few files, as often as the paper repeats SUN RGB-D
HELD_OUT: Final = 10  # one in so many
KINDS: Final[tuple[Kind, ...]] = ("image", "video", "rgbd")


@dataclass
class Shelf:
    """The samples of one kind: uint8 (3 or 4, T, S, S) each, and the names of their classes."""

    pixels: list[Tensor] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def table(self, classes: Sequence[str]) -> Samples:
        """(N, ...) and (N,)."""
        return torch.stack(self.pixels), torch.tensor([classes.index(name) for name in self.names])


def folder_sources(
    folder: Path, settings: OmnivorePreprocessing, size: int = 32
) -> tuple[list[Source], list[Source]]:
    """Sources to train on, and those that were held out, which may be fewer.

    Args:
        size: samples of a batch, for counting batches.

    Raises:
        UserError: there are no classes, a kind has only one, or nothing can be read.
    """
    shelves, held = read_folder(folder, settings)
    longest = max(len(shelf.names) for shelf in shelves.values())
    training, judging = [], []
    for kind, shelf in shelves.items():
        classes = tuple(sorted({*shelf.names, *held[kind].names}))
        if len(classes) < 2:
            raise UserError(
                f"'{folder}' has {kind} samples in the subfolder '{classes[0]}' alone: expected two classes of a kind "
                "or more, each in a subfolder"
            )
        pixels, labels = shelf.table(classes)
        training.append(
            Source(
                kind=kind,
                classes=classes,
                samples=_drawn(pixels, labels),
                batches=math.ceil(len(labels) / size),
                repeat=min(MOST_REPEATS, max(1.0, longest / len(labels))),
                share=0.5 if kind == "video" else 1.0,
            )
        )
        if held[kind].names:
            pixels, labels = held[kind].table(classes)
            judging.append(Source(kind=kind, classes=classes, samples=_counted(pixels, labels), batches=1))
    return training, judging


def read_folder(folder: Path, settings: OmnivorePreprocessing) -> tuple[dict[Kind, Shelf], dict[Kind, Shelf]]:
    """Every file of every class, by kind: what to train on, and what is held out. What cannot be read is logged.

    Raises:
        UserError: there are fewer than two classes, or no file in them can be read.
    """
    classes = class_files(folder)
    found = {kind: Shelf() for kind in KINDS}
    held = {kind: Shelf() for kind in KINDS}
    why = "they are empty"
    for name, files in classes.items():
        seen: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        depths = {depth_of(file) for file in files}  # of another picture, and no picture itself
        for file in files:
            if file in depths:
                continue
            try:
                kind, pixels = read_sample(file, settings)
            except UserError as error:
                why = str(error)
                logger.warning("%s is left out: %s", file, error)
                continue
            seen[kind] += 1
            shelf = held[kind] if seen[kind] % HELD_OUT == 0 else found[kind]
            shelf.pixels.append(pixels)
            shelf.names.append(name)
    kept = {kind: shelf for kind, shelf in found.items() if shelf.names}
    if not kept:
        raise UserError(f"no file in the subfolders of '{folder}' can be used: {why}")
    return kept, held


def read_sample(file: Path, settings: OmnivorePreprocessing) -> tuple[Kind, Tensor]:
    """A file as the network will see it, before normalisation: uint8 (3 or 4, T, S, S)."""
    media = read_media(file, depth_of(file))
    x = views(media, settings)[0]
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (settings.picture.mean, settings.picture.std))
    pixels = x[:3] * std + mean
    if len(x) == 4:
        pixels = torch.cat([pixels, x[3:] * settings.depth_std + settings.depth_mean])
    return media.kind, (pixels.clamp(0, 1) * 255).round().to(torch.uint8)


def depth_of(file: Path) -> Path | None:
    """The depth file beside a picture, if there is one."""
    named = (file.with_name(f"{file.stem}_depth{suffix}") for suffix in DEPTH_EXTENSIONS)
    return next((each for each in named if each.is_file()), None)


def _drawn(pixels: Tensor, labels: Tensor) -> Callable[[Sequence[int], torch.Generator], Samples]:
    """Random samples, none twice in a batch where there are enough; cropped, mirrored and tinted."""

    def samples(numbers: Sequence[int], generator: torch.Generator) -> Samples:
        order = torch.cat(
            [torch.randperm(len(labels), generator=generator) for _ in range(-(-len(numbers) // len(labels)))]
        )
        places = order[: len(numbers)]
        found = pixels[places].float() / 255
        if found.shape[2] == 1:
            found = cropped(found, generator)
        colours = tinted(found[:, :3], generator)
        return torch.cat([colours, found[:, 3:]], 1), labels[places]

    return samples


def _counted(pixels: Tensor, labels: Tensor) -> Callable[[Sequence[int], torch.Generator], Samples]:
    """The samples of these numbers, as they are; beyond the last one there is nothing."""

    def samples(numbers: Sequence[int], generator: torch.Generator) -> Samples:
        places = [number for number in numbers if number < len(labels)]
        return pixels[places].float() / 255, labels[places]

    return samples
