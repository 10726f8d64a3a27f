"""An easy Small World, and the frozen networks through which the experiments see it.

Clips have 16 frames of 32x32 and one subject under a camera that rests. Nano's codec makes 4 x 4 x 4 cells of 64
numbers of one.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from itertools import count as numbers
from itertools import islice

from kinema.systems.movie_gen.video.parts import Parts, load_parts
from kinema.world.scene import Scene, WorldSpec, sample_scene

FRAMES, SIZE, GRID, FPS = 16, 32, (4, 4, 4), 8.0
SPEC = WorldSpec(vocabulary="nano", actor_odds=(1.0, 0.0, 0.0), static_camera=1.0, appealing=0.0)
OBJECTS = ("panda", "banana", "tractor", "ladybug")
ACTIONS = ("rest", "slide", "fall", "spin")
PLACES = ("meadow",)


def easy_scenes(split: str, number: int) -> list[Scene]:
    """The first scenes of a split that keep to OBJECTS, ACTIONS and PLACES."""
    found = (sample_scene(split, i, SPEC) for i in numbers())
    easy = (
        s
        for s in found
        if s.subject.name in OBJECTS and s.subject.motion in ACTIONS and s.background in PLACES
    )
    return list(islice(easy, number))


def nano_parts() -> tuple[Parts, str]:
    """The networks that come with kinema, and the beginning of their file's SHA-256."""
    folder = resources.files("kinema.systems.movie_gen.video")
    with resources.as_file(folder.joinpath("nano.safetensors")) as path:
        return load_parts(path).freeze(), hashlib.sha256(path.read_bytes()).hexdigest()[:12]
