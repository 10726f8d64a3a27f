"""Optical flow, exact: where the point that a pixel shows stands one frame later, from poses and the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.world.renderer import Geometry, pixel_grid
from kinema.world.scene import Scene
from kinema.world.truth.layers import Layers, layers, seen_at


@dataclass(frozen=True)
class Flow:
    """Forward flow between neighbouring frames, and where it can be followed."""

    pixels: Tensor  # (B, 2, T-1, H, W) x to the right, y down
    visible: Tensor  # (B, 1, T-1, H, W) bool: the point is inside the next frame and nothing hides it there


def _next_place(geo: Geometry, k: int, place: Tensor) -> Tensor:
    """Places on actor k, one frame later: (H, W, 2) -> (B, T-1, H, W, 2)."""
    now, later = slice(None, -1), slice(1, None)
    centre, size = geo.centre[:, k], geo.size[:, k].clamp(min=1e-3)
    grown = (size[:, later] / size[:, now])[..., None, None]
    turn = (geo.angle[:, k, later] - geo.angle[:, k, now])[..., None, None]
    offset = place - centre[:, now, None, None]
    x, y, cos, sin = offset[..., 0], offset[..., 1], torch.cos(turn), torch.sin(turn)
    moved = torch.stack([grown * (cos * x - sin * y), grown * (sin * x + cos * y)], -1)
    return moved + centre[:, later, None, None]


def _background_later(camera: Tensor, place: Tensor) -> Tensor:
    """Places on the background, one frame later: (B, T, 3), (H, W, 2) -> (B, T-1, H, W, 2)."""
    look = camera[:, :, None, None, :2]
    zoom = camera[:, :, None, None, 2:]
    return (place / zoom[:, :-1] + look[:, :-1] - look[:, 1:]) * zoom[:, 1:]


def flow_of(apart: Layers) -> Flow:
    """Flow between the frames of layers that are already drawn."""
    height, width = apart.front.shape[-2:]
    place, geo = pixel_grid(height, width), apart.geometry
    front = apart.front[:, :-1]
    later = _background_later(geo.camera, place)
    for k in range(geo.size.shape[1]):
        later = torch.where((front == k)[..., None], _next_place(geo, k, place), later)
    following = Layers(
        geometry=geo,
        visible=apart.visible[:, :, 1:],
        behind=apart.behind[:, :, 1:],
        front=apart.front[:, 1:],
        sign=apart.sign[:, :, 1:],
    )
    pixels = (later - place) * height
    return Flow(pixels=pixels.movedim(-1, 1), visible=seen_at(following, later, front)[:, None])


def optical_flow(
    scenes: Sequence[Scene], num_frames: int = 16, height: int = 64, width: int = 64, fps: float = 8.0
) -> Flow:
    """Forward flow in pixels with its validity: frame t at pixel p shows what frame t+1 shows at p + flow.

    Raises:
        UserError: the size cannot be drawn, there are no scenes, or fewer than two frames.
    """
    if num_frames < 2:
        raise UserError(f"flow needs two frames or more: num_frames is {num_frames}")
    return flow_of(layers(scenes, num_frames, height, width, fps))
