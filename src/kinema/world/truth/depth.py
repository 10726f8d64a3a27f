"""Distance in metres: actors and signs stand at theirs, behind is a wall or sky over a ground that comes nearer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from kinema.world import backgrounds
from kinema.world.renderer import Geometry, pixel_grid
from kinema.world.scene import Scene
from kinema.world.signs import SIGN_DEPTH
from kinema.world.truth.layers import SIGN, Layers, layers

FOCAL = 1.0  # frame heights, at a zoom of 1: a vertical field of view of 53 degrees
CAMERA_HEIGHT = 2.6  # metres over the ground: every actor is nearer than the ground that it hides
# kind -> metres to its sky, wall, or the end of sight
FAR: dict[str, float] = {
    "meadow": 100.0,
    "night sky": 100.0,
    "beach": 100.0,
    "snow": 80.0,
    "desert": 100.0,
    "city": 40.0,
    "forest": 30.0,
    "room": 12.0,
    "sunset": 100.0,
    "underwater": 25.0,
}


@lru_cache(maxsize=len(backgrounds.PAINTERS))
def horizon(kind: str) -> float:
    """Where a background's ground begins, in frame heights from its middle, downwards."""
    return float(backgrounds.paint(kind, 0, 16)[1])


def background_rows(scenes: Sequence[Scene], geo: Geometry, height: int) -> Tensor:
    """The background's distance, which depends on the row alone: (B, T, H) metres.

    Above the horizon it is FAR[kind]. Below, a level ground seen from CAMERA_HEIGHT, joined to the far end without a
    step: Z = CAMERA_HEIGHT * FOCAL / (y - level), y on the panorama, so that tilt and zoom move it with the picture.
    """
    far = torch.tensor([FAR[s.background] for s in scenes])[:, None, None]
    edge = torch.tensor([horizon(s.background) for s in scenes])[:, None, None]
    level = edge - CAMERA_HEIGHT * FOCAL / far
    camera = geo.camera[..., None]  # (B, T, 3, 1)
    y = pixel_grid(height, 1)[:, 0, 1] / camera[:, :, 2] + camera[:, :, 1]
    return torch.minimum(CAMERA_HEIGHT * FOCAL / (y - level).clamp(min=1e-6), far)


def depth_of(scenes: Sequence[Scene], apart: Layers) -> Tensor:
    """Distance of the foremost layer: (B, 1, T, H, W) metres."""
    _, frames, height, width = apart.front.shape
    rows = background_rows(scenes, apart.geometry, height)[..., None].expand(-1, -1, -1, width)
    rows = torch.where(apart.front == SIGN, SIGN_DEPTH, rows)
    return apart.pick(apart.geometry.depth[..., None].expand(-1, -1, frames), rows)[:, None]


def depth(
    scenes: Sequence[Scene], num_frames: int = 16, height: int = 64, width: int = 64, fps: float = 8.0
) -> Tensor:
    """Distance in metres along the camera's axis of what a pixel shows: float32 (B, 1, T, H, W).

    Pixels on an edge belong to the foremost layer that covers half of them. Trees and houses are painted on the
    background and are as far as it is at their place.

    Raises:
        UserError: the size cannot be drawn, or there are no scenes.
    """
    return depth_of(scenes, layers(scenes, num_frames, height, width, fps))
