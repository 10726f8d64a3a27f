"""The Small World: a procedural audio-visual world, small enough to learn in minutes, with its ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinema.world.captions import canonical_caption, caption
from kinema.world.scene import (
    BACKGROUNDS,
    CAMERAS,
    DIRECTIONS,
    MOTIONS,
    SPLITS,
    Actor,
    Scene,
    WorldSpec,
    make_actor,
    sample_scene,
)
from kinema.world.signs import Sign

if TYPE_CHECKING:
    from kinema.world.renderer import render

__all__ = [
    "BACKGROUNDS",
    "CAMERAS",
    "DIRECTIONS",
    "MOTIONS",
    "SPLITS",
    "Actor",
    "Scene",
    "Sign",
    "WorldSpec",
    "canonical_caption",
    "caption",
    "make_actor",
    "render",
    "sample_scene",
]


def __getattr__(name: str) -> Any:
    # The renderer needs torch; scenes and words do not.
    if name == "render":
        from kinema.world.renderer import render

        return render
    raise AttributeError(f"module 'kinema.world' has no attribute {name!r}")
