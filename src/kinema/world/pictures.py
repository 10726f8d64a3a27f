"""Pictures, clips and disparity of many scenes at once, with what they show: for training and probing encoders."""

# N scenes, T frames, S side

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.world import atlas
from kinema.world.backgrounds import paint
from kinema.world.hashtags import TagNoise, hashtags
from kinema.world.renderer import actor_layers, geometry, render
from kinema.world.scene import Scene, WorldSpec, sample_scene

FOCAL_BASELINE = 12.0  # pixels times metres: a subject at 3 m has a disparity of 4 pixels
CAMERA_HEIGHT = 1.6  # metres above the ground, for its disparity
ATTRIBUTES = ("object", "family", "colour", "motion", "direction", "background")


@dataclass(frozen=True)
class Rendered:
    """pixels uint8 (N, 3, T, S, S) and the scenes that they show."""

    pixels: Tensor
    scenes: tuple[Scene, ...]

    def labels(self, attribute: str, classes: Sequence[str]) -> Tensor:
        """The number of each scene's value among `classes`, int64 (N,); -1 where it is none of them."""
        numbers = {name: number for number, name in enumerate(classes)}
        return torch.tensor([numbers.get(value(scene, attribute), -1) for scene in self.scenes])

    def hashtags(self, noise: TagNoise | None = None) -> list[tuple[str, ...]]:
        """What people would write under each."""
        return [hashtags(scene, noise) for scene in self.scenes]


def value(scene: Scene, attribute: str) -> str:
    """What a scene shows: its subject's `object`, `family`, `colour`, `motion`, `direction`, or the `background`."""
    subject = scene.subject
    match attribute:
        case "object":
            return subject.name
        case "family" | "colour" | "motion" | "direction":
            return str(getattr(subject, attribute))
        case "background":
            return scene.background
    raise UserError(f"a scene has no attribute '{attribute}': choose {', '.join(ATTRIBUTES)}")


def object_names(spec: WorldSpec) -> tuple[str, ...]:
    """The names of the objects that training scenes of this world are about, sorted."""
    return tuple(sorted({atlas.artworks()[index].name for index in spec.objects}))


def pictures(
    indices: Sequence[int], split: str = "train", size: int = 32, spec: WorldSpec | None = None
) -> Rendered:
    """One frame of each scene at a random time of its own: pixels (N, 3, 1, S, S)."""
    scenes = [sample_scene(split, index, spec) for index in indices]
    return Rendered(_rendered(scenes, 1, size, _moments(scenes)), tuple(scenes))


def clips(
    indices: Sequence[int],
    split: str = "train",
    frames: int = 8,
    size: int = 32,
    spec: WorldSpec | None = None,
) -> Rendered:
    """`frames` spread evenly over each scene: pixels (N, 3, T, S, S)."""
    scenes = [sample_scene(split, index, spec) for index in indices]
    return Rendered(_rendered(scenes, frames, size, None), tuple(scenes))


def disparity(scenes: Sequence[Scene], size: int = 32) -> Tensor:
    """Disparity in pixels of the frame that `pictures` shows: float32 (N, S, S), near is large.

    The ground is a plane from the horizon down, what is above it is infinitely far, and objects are flat cards that
    stand in the depth of their own.
    """
    maps = []
    rows = (torch.arange(size) + 0.5) / size - 0.5
    for scene, moment in zip(scenes, _moments(scenes), strict=True):
        geo = geometry([scene], 1, scene.fps, [moment])
        camera_y, zoom = float(geo.camera[0, 0, 1]), float(geo.camera[0, 0, 2])
        _, horizon = paint(scene.background, scene.variant, 64)
        below = (rows / zoom + camera_y - horizon).clamp(min=0)
        # A point of the ground at depth Z lies CAMERA_HEIGHT / Z frame heights under the horizon.
        found = (FOCAL_BASELINE * below / CAMERA_HEIGHT)[:, None].expand(size, size).clone()
        for k in reversed(range(len(scene.actors))):
            alpha = actor_layers(geo, k, size, size)[0, 3, 0]
            found = torch.where(alpha > 0.5, torch.tensor(FOCAL_BASELINE / scene.actors[k].depth), found)
        maps.append(found)
    return torch.stack(maps)


def _moments(scenes: Sequence[Scene]) -> list[float]:
    return [s.duration * random.Random(f"moment:{s.seed}").random() for s in scenes]


def _rendered(scenes: Sequence[Scene], frames: int, size: int, start: list[float] | None) -> Tensor:
    out = torch.empty(len(scenes), 3, frames, size, size, dtype=torch.uint8)
    # Neighbours in the batch share a background, so the canvas is painted once.
    order = sorted(
        range(len(scenes)), key=lambda k: (scenes[k].background, scenes[k].variant, scenes[k].duration)
    )
    for rate in sorted({frames / s.duration for s in scenes}):
        rows = [k for k in order if frames / scenes[k].duration == rate]
        begin = [start[k] for k in rows] if start else None
        out[rows] = render([scenes[k] for k in rows], frames, size, size, rate, begin)
    return out
