"""What the judges are trained on: scenes over the whole vocabulary, every pair of object and motion included.

The splits bind generators, not judges; these scenes come from a source of their own, so none is in any split.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kinema.world import atlas
from kinema.world.judges.degrade import degrade
from kinema.world.judges.labels import ACTS, targets
from kinema.world.judges.networks import FRAMES, SIZE
from kinema.world.renderer import geometry, render
from kinema.world.scene import BACKGROUND_VARIANTS, BACKGROUNDS, CAMERAS, Scene, make_actor

FPS = 8.0
_SWAPPED = {
    "left": "right",
    "right": "left",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
}
_ACT_SWAP = torch.tensor([ACTS.index((m, _SWAPPED.get(d, d))) for m, d in ACTS])
_CAMERA_SWAP = torch.tensor([CAMERAS.index(" ".join(_SWAPPED.get(w, w) for w in c.split())) for c in CAMERAS])
_MIRROR_TRACK = torch.tensor([-1.0, 1, 1, -1, -1, 1, 1])


def lesson_scene(source: str, index: int) -> Scene:
    """One training scene: any object (the nano vocabulary a little more often) in any motion, evenly."""
    rng = random.Random(f"kinema-judge-1:{source}:{index}")
    works = range(len(atlas.artworks()))
    artwork = rng.choice(atlas.nano_vocabulary()) if rng.random() < 0.15 else rng.choice(works)
    motion, direction = rng.choice(tuple(dict(ACTS))), ""
    direction = rng.choice([d for m, d in ACTS if m == motion])
    actors = [make_actor(artwork, motion, direction, rng)]
    for companion in range(1, rng.choices((1, 2, 3), (0.7, 0.22, 0.08))[0]):
        other = rng.choice([k for k in works if k not in {a.artwork for a in actors}])
        actors.append(make_actor(other, "rest", "none", rng, companion=companion, others=actors[0].x))
    camera = "static" if rng.random() < 0.4 else rng.choice(CAMERAS[1:])
    amount = rng.uniform(0.42, 0.55) if camera.startswith("zoom") else rng.uniform(0.36, 0.5)
    return Scene(
        split="judge",
        index=index,
        actors=tuple(actors),
        background=rng.choice(BACKGROUNDS),
        variant=rng.randrange(BACKGROUND_VARIANTS),
        shift=round(rng.uniform(-0.6, 0.6), 4),
        camera=camera,
        camera_amount=0.0 if camera == "static" else amount,
        finish="appealing" if rng.random() < 0.35 else "plain",
        fps=FPS,
        duration=2.0,
        seed=rng.getrandbits(48),
    )


def to_float(clips: Tensor) -> Tensor:
    """uint8 (..., H, W) -> float32 in [-1, 1]."""
    return clips.float() / 127.5 - 1


def frames_lesson(
    indices: Iterable[int], generator: torch.Generator, source: str = "frames", spoilt: float = 0.5
) -> dict[str, Tensor]:
    """Single frames at random times: `frames` (2 * scenes, 3, 64, 64) float32, some spoilt, `box`, targets.

    Scenes are drawn in groups with a frame rate of their own; of times 0, 1/fps and 2/fps the later two are kept.
    """
    scenes = [lesson_scene(source, i) for i in indices]
    kept, boxes = [], []
    for start in range(0, len(scenes), 16):
        first = 0.02 + 0.93 * float(torch.rand((), generator=generator))  # seconds
        group = scenes[start : start + 16]
        kept.append(render(group, 3, SIZE, SIZE, 1 / first)[:, :, 1:].transpose(1, 2).flatten(0, 1))
        geo = geometry(group, 3, 1 / first)
        boxes.append(torch.cat([geo.centre[:, 0, 1:], geo.size[:, 0, 1:, None].log()], 2).flatten(0, 1))
    frames = degrade(to_float(torch.cat(kept))[:, :, None], generator, spoilt, parts=16)[:, :, 0]
    return {
        "frames": frames,
        "box": torch.cat(boxes),
        **{k: v.repeat_interleave(2) for k, v in targets(scenes).items()},
    }


def track(scenes: list[Scene], num_frames: int = FRAMES) -> Tensor:
    """What happens from frame to frame, each about 1 in size: float32 (B, 7, T).

    The subject's place x, y on the screen, the log of its size, its turn since the last frame; the camera's step
    in x and y and in the log of its zoom.
    """
    geo = geometry(scenes, num_frames, FPS)
    zoom = geo.camera[..., 2].log()
    steps = torch.stack([geo.angle[:, 0] * 3, geo.camera[..., 0] * 30, geo.camera[..., 1] * 30, zoom * 30], 1)
    steps = torch.diff(steps, dim=2, prepend=steps[..., :1])
    place = torch.stack(
        [geo.centre[:, 0, :, 0] * 4, geo.centre[:, 0, :, 1] * 4, geo.size[:, 0].log() * 2 + 1.6], 1
    )
    return torch.cat([place, steps], 1)


def clips_lesson(
    indices: Iterable[int], generator: torch.Generator, source: str = "clips", spoilt: float = 0.5
) -> dict[str, Tensor]:
    """Clips, each also mirrored left to right: `clips` (2 * scenes, 3, 16, 64, 64), `track`, and targets."""
    scenes = [lesson_scene(source, i) for i in indices]
    clips, path, wanted = to_float(render(scenes, FRAMES, SIZE, SIZE, FPS)), track(scenes), targets(scenes)
    both: dict[str, Any] = {
        "clips": degrade(torch.cat([clips, clips.flip(-1)]), generator, spoilt),
        "track": torch.cat([path, path * _MIRROR_TRACK[:, None]]),
        "act": torch.cat([wanted["act"], _ACT_SWAP[wanted["act"]]]),
        "camera": torch.cat([wanted["camera"], _CAMERA_SWAP[wanted["camera"]]]),
    }
    return both


@dataclass(frozen=True, kw_only=True)
class Course:
    """How long the judges learn, in optimiser steps, and from how many frames or clips at a time."""

    frame_steps: int
    reading_steps: int
    clip_steps: int
    act_steps: int
    act_lessons: int  # batches of 64 clips that evidence for the second look is gathered from
    frame_batch: int = 128
    clip_batch: int = 64
