"""What Omnivore trains on: the Small World's pictures, clips and RGB-D, each with its own classes.

A source is a data set of one kind. It is told which samples and gives pixels before normalisation and class numbers.
"""

# N samples, T frames, S side

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.data.crops import random_resized_crop
from kinema.media.depth import Depth
from kinema.systems.omnivore.model import Kind
from kinema.systems.omnivore.objective import Batch, batch_order
from kinema.systems.omnivore.preprocessing import OmnivorePreprocessing
from kinema.train import BatchIndex
from kinema.train.mixing import smooth_targets
from kinema.world import atlas
from kinema.world.pictures import clips, disparity, object_names, pictures
from kinema.world.scene import MOTIONS, Scene, WorldSpec

Samples = tuple[Tensor, Tensor]
SMOOTHING: Final = 0.1
PLAIN: Final = 0.2  # share of training pictures that show their subject alone on one colour, as icons do
NANO: Final = WorldSpec(vocabulary="nano")
THINGS: Final = object_names(NANO)
FAMILIES: Final = tuple(sorted({atlas.artworks()[place].family for place in NANO.objects}))
# Motions with their directions: what a mirror and nothing else tells apart is told apart.
MOVEMENTS: Final = tuple(
    motion if len(directions) == 1 else f"{motion} {direction}"
    for motion, directions in MOTIONS.items()
    for direction in directions
)
_MIRRORED: Final = {
    "left": "right",
    "right": "left",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set of one kind.

    samples: (numbers, generator) -> pixels in [0, 1] (N, 3 or 4, T, S, S) and labels (N,), or (N, L) where a sample has
    one class of each of L groups. groups: their sizes, in the order of the classes. batches: of a pass through it.
    repeat: how many passes an epoch of the whole has, see `objective.batch_order`. share: of a step's samples that its
    batches have; clips cost as much as several pictures.
    """

    kind: Kind
    classes: tuple[str, ...]
    samples: Callable[[Sequence[int], torch.Generator], Samples]
    batches: int
    repeat: float = 1.0
    share: float = 1.0
    groups: tuple[int, ...] = ()


def normalised(pixels: Tensor, settings: OmnivorePreprocessing) -> Tensor:
    """Pixels in [0, 1] (N, 3 or 4, T, S, S) to the network's scale."""
    colours = settings.picture.normalise(pixels[:, :3].movedim(1, 2)).movedim(2, 1)
    if pixels.shape[1] == 3:
        return colours
    return torch.cat([colours, (pixels[:, 3:] - settings.depth_mean) / settings.depth_std], 1)


class Turns:
    """Batches of all sources by the step of the run: which source, which of its samples.

    seed: of the shuffled order. size: samples of a step. Targets are smoothed.
    """

    def __init__(
        self, sources: Sequence[Source], settings: OmnivorePreprocessing, size: int, seed: int
    ) -> None:
        self.sources, self.settings, self.size, self.seed = sources, settings, size, seed
        self.order = cache(self._order)
        self.length = len(self.order(0))

    def _order(self, epoch: int) -> list[tuple[int, int]]:
        counts = [source.batches for source in self.sources]
        return batch_order(counts, [source.repeat for source in self.sources], epoch, self.seed)

    def __call__(self, index: BatchIndex) -> Batch:
        epoch, place = divmod(index.step, self.length)
        number, turn = self.order(epoch)[place]
        source = self.sources[number]
        taken = index.indices[: max(1, round(len(index.indices) * source.share))]
        numbers = [turn * self.size + sample % self.size for sample in taken]
        pixels, labels = source.samples(numbers, index.generator())
        columns = labels.view(len(labels), -1).unbind(1)
        each = [smooth_targets(column, len(source.classes), SMOOTHING) for column in columns]
        targets = torch.stack(each).mean(0)
        return Batch(source.kind, normalised(pixels, self.settings), targets)


def world_sources(side: int, frames: int, batches: int, split: str = "train") -> list[Source]:
    """The Small World: things in pictures, things and how they move in clips, families of things in RGB-D.

    A clip has two classes, half of the target each: were it known by its movement alone, its embedding would have no
    reason to lie near that of a picture of the same thing. RGB-D, the rare kind, has two fifteenths of the pictures'
    batches, shown three times over.

    Args:
        batches: of pictures; there are four fifths as many of clips, of half the samples.
    """
    training = split == "train"
    return [
        Source(
            kind="image",
            classes=THINGS,
            samples=lambda numbers, generator: world_pictures(numbers, split, side, generator, training),
            batches=batches,
        ),
        Source(
            kind="video",
            classes=(*THINGS, *MOVEMENTS),
            groups=(len(THINGS), len(MOVEMENTS)),
            samples=lambda numbers, generator: world_clips(numbers, split, side, frames, generator, training),
            batches=max(batches * 4 // 5, 1),
            share=0.5,
        ),
        Source(
            kind="rgbd",
            classes=FAMILIES,
            samples=lambda numbers, generator: world_rgbd(numbers, split, side, generator, training),
            batches=max(batches * 2 // 15, 1),
            repeat=3.0 if training else 1.0,
        ),
    ]


def world_pictures(
    numbers: Sequence[int], split: str, side: int, generator: torch.Generator, training: bool
) -> Samples:
    """Pictures (N, 3, 1, S, S) and their objects; with `training` cropped, mirrored and tinted."""
    drawn = pictures(numbers, split, side, NANO)
    pixels = drawn.pixels.float() / 255
    if training:
        plain = torch.rand(len(pixels), generator=generator) < PLAIN
        for place in plain.nonzero()[:, 0].tolist():
            pixels[place, :, 0] = alone(drawn.scenes[place], side, generator)
        pixels = tinted(cropped(pixels, generator), generator)
    return pixels, drawn.labels("object", THINGS)


def world_clips(
    numbers: Sequence[int], split: str, side: int, frames: int, generator: torch.Generator, training: bool
) -> Samples:
    """Clips (N, 3, T, S, S) and things and movements (N, 2); a mirrored one gets the mirrored movement."""
    drawn = clips(numbers, split, frames, side, NANO)
    pixels, labels = drawn.pixels.float() / 255, movements(drawn.scenes)
    if training:
        flip = torch.rand(len(pixels), generator=generator) < 0.5
        pixels[flip] = pixels[flip].flip(-1)
        labels[flip] = mirrored_movements()[labels[flip]]
        pixels = tinted(pixels, generator)
    return pixels, torch.stack([drawn.labels("object", THINGS), len(THINGS) + labels], 1)


def world_rgbd(
    numbers: Sequence[int], split: str, side: int, generator: torch.Generator, training: bool
) -> Samples:
    """Pictures with relative disparity (N, 4, 1, S, S) and the families of what they show."""
    drawn = pictures(numbers, split, side, NANO)
    colours = drawn.pixels.float() / 255
    if training:
        colours = tinted(colours, generator)
    apart = relative(disparity(drawn.scenes, side))
    pixels = torch.cat([colours, apart[:, None, None]], 1)
    return cropped(pixels, generator) if training else pixels, drawn.labels("family", FAMILIES)


def alone(scene: Scene, side: int, generator: torch.Generator) -> Tensor:
    """The scene's subject on one colour, half of the time white: (3, S, S) in [0, 1]."""
    size, white, *colour = torch.rand(5, generator=generator).tolist()
    ground = torch.tensor([1.0, 1.0, 1.0] if white < 0.5 else colour).view(3, 1, 1)
    card = atlas.sprites(atlas.CELL)[atlas.artworks()[scene.subject.artwork].index]
    wide = max(1, round(side * (0.5 + size / 2)))
    card = F.interpolate(card[None], (wide, wide), mode="bilinear", antialias=True)[0]
    before = (side - wide) // 2
    card = F.pad(card, (before, side - wide - before, before, side - wide - before))
    return card[:3] + (1 - card[3:]) * ground


def relative(maps: Tensor) -> Tensor:
    """Disparity (N, S, S) to 0 for the farthest and 1 for the nearest place of each map, as files are read."""
    return torch.stack(
        [torch.from_numpy(Depth(each.numpy(), "relative_disparity").normalised()) for each in maps]
    )


def movements(scenes: Sequence[Scene]) -> Tensor:
    """The numbers of the scenes' movements among `MOVEMENTS`: (N,)."""
    named = [
        s.subject.motion
        if len(MOTIONS[s.subject.motion]) == 1
        else f"{s.subject.motion} {s.subject.direction}"
        for s in scenes
    ]
    return torch.tensor([MOVEMENTS.index(name) for name in named])


@cache
def mirrored_movements() -> Tensor:
    """What each movement becomes in a mirror: (movements,)."""
    found = []
    for name in MOVEMENTS:
        motion, _, direction = name.partition(" ")
        found.append(MOVEMENTS.index(f"{motion} {_MIRRORED[direction]}" if direction else name))
    return torch.tensor(found)


def cropped(pixels: Tensor, generator: torch.Generator, least: float = 0.5) -> Tensor:
    """A part of each picture, at least `least` of its area, resized, and half of them mirrored: (N, C, 1, S, S)."""
    side = pixels.shape[-1]
    parts = [random_resized_crop(each, side, generator, (least, 1.0)) for each in pixels[:, :, 0]]
    flip = torch.rand(len(parts), generator=generator) < 0.5
    out = torch.stack(parts).clamp(0, 1)
    out[flip] = out[flip].flip(-1)
    return out[:, :, None]


def tinted(pixels: Tensor, generator: torch.Generator, amount: float = 0.3) -> Tensor:
    """Brightness, contrast and each colour of a sample changed by up to `amount`, all frames alike."""

    def draw(channels: int) -> Tensor:
        spread = torch.rand(len(pixels), channels, 1, 1, 1, generator=generator) * 2 - 1
        return 1 + amount * spread

    middle = pixels.mean((1, 2, 3, 4), keepdim=True)
    contrasted = middle + (pixels - middle) * draw(1)
    return (contrasted * draw(1) * (1 + (draw(3) - 1) / 2)).clamp(0, 1)
