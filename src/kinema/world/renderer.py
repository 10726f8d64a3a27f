"""From scenes to pictures, in batches with torch: backgrounds and sprites are sampled through the camera and composed.

Shapes: B scenes, T frames, K actors (padded with nothing), H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.world import atlas, backgrounds
from kinema.world.finish import grade, shadow, soften
from kinema.world.motion import pose, view
from kinema.world.scene import Scene
from kinema.world.sign_picture import sign_layer

CHUNK = 8  # scenes that are drawn together: larger batches fall out of the cache
LARGEST = (0.95, 0.36)  # frame heights that a subject and a companion reach
MAX_PIXELS = 1 << 31  # of one call; beyond that, render in smaller batches


@dataclass(frozen=True)
class Geometry:
    """Where everything is, per frame. Lengths in frame heights, on the screen (after the camera)."""

    centre: Tensor  # (B, K, T, 2) x, y
    size: Tensor  # (B, K, T)
    angle: Tensor  # (B, K, T)
    camera: Tensor  # (B, T, 3) x, y, zoom
    artwork: Tensor  # (B, K) atlas index, -1 for none
    depth: Tensor  # (B, K) metres
    mirrored: Tensor  # (B, K) bool


def geometry(
    scenes: Sequence[Scene],
    num_frames: int,
    fps: float,
    start: Sequence[float] | None = None,
    zoom: float = 1.0,
) -> Geometry:
    """Evaluate every closed-form path at the frames' times; `start` is when each scene's first frame is (s).

    `zoom` multiplies the camera's own magnification.
    """
    actors = max(len(s.actors) for s in scenes)
    poses = np.zeros((len(scenes), actors, num_frames, 4), np.float32)
    camera = np.zeros((len(scenes), num_frames, 3), np.float32)
    artwork = np.full((len(scenes), actors), -1, np.int64)
    depth = np.full((len(scenes), actors), np.inf, np.float32)
    mirrored = np.zeros((len(scenes), actors), bool)
    for b, scene in enumerate(scenes):
        times = [i / fps + (start[b] if start else 0.0) for i in range(num_frames)]
        for i, t in enumerate(times):
            v = view(scene, t)
            camera[b, i] = v.x, v.y, v.zoom * zoom
        for k, actor in enumerate(scene.actors):
            artwork[b, k], depth[b, k], mirrored[b, k] = actor.artwork, actor.depth, actor.mirrored
            for i, t in enumerate(times):
                p = pose(actor, t, scene.duration)
                poses[b, k, i] = p.x, p.y, p.size, p.angle
    place, cam = torch.from_numpy(poses), torch.from_numpy(camera)
    scale = cam[:, None, :, 2]
    return Geometry(
        centre=(place[..., :2] - cam[:, None, :, :2]) * scale[..., None],
        size=place[..., 2] * scale,
        angle=place[..., 3],
        camera=cam,
        artwork=torch.from_numpy(artwork),
        depth=torch.from_numpy(depth),
        mirrored=torch.from_numpy(mirrored),
    )


@lru_cache(maxsize=8)
def pixel_grid(height: int, width: int) -> Tensor:
    """Centres of the pixels in frame heights: (H, W, 2) x, y."""
    y = (torch.arange(height) + 0.5) / height - 0.5
    x = ((torch.arange(width) + 0.5) / width - 0.5) * (width / height)
    return torch.stack([x[None].expand(height, -1), y[:, None].expand(-1, width)], -1)


def actor_layers(geo: Geometry, k: int, height: int, width: int) -> Tensor:
    """Actor k alone on nothing: premultiplied RGBA in [0, 1], (B, 4, T, H, W)."""
    batch, _, frames = geo.size.shape
    cos, sin = torch.cos(geo.angle[:, k]), torch.sin(geo.angle[:, k])
    scale = 2.0 / geo.size[:, k].clamp(min=1e-3)
    flip = torch.where(geo.mirrored[:, k], -1.0, 1.0)[:, None]
    # Sprite coordinates in [-1, 1] are an affine function of the pixel: rotate back, scale, mirror.
    grid = pixel_grid(height, width)
    cx, cy = geo.centre[:, k, :, 0], geo.centre[:, k, :, 1]
    xs, ys = grid[0, :, 0], grid[:, 0, 1]
    a, b = (flip * scale * cos), (flip * scale * sin)
    c, d = (-scale * sin), (scale * cos)
    right, down = xs - cx[..., None], ys - cy[..., None]
    where = torch.empty(batch, frames, height, width, 2)
    torch.add((a[..., None] * right)[:, :, None, :], (b[..., None] * down)[..., None], out=where[..., 0])
    torch.add((c[..., None] * right)[:, :, None, :], (d[..., None] * down)[..., None], out=where[..., 1])
    where = where.flatten(1, 2)  # (B, T*H, W, 2)
    # The level hangs on the actor's rank and the frame alone: what else is in the batch changes no pixel.
    resolution = 32 if LARGEST[min(k, 1)] * height <= 40 else atlas.CELL
    index = geo.artwork[:, k]
    cells = atlas.sprites(resolution)[index.clamp(min=0)] * (index >= 0).float()[:, None, None, None]
    drawn = F.grid_sample(cells, where, mode="bilinear", padding_mode="zeros", align_corners=False)
    return drawn.unflatten(2, (frames, height))


def background_layer(scenes: Sequence[Scene], geo: Geometry, height: int, width: int) -> Tensor:
    """The backgrounds through the camera: RGB in [0, 1], (B, 3, T, H, W). Still cameras are drawn once."""
    frames = geo.camera.shape[1]
    unit = max(64, 1 << (height - 1).bit_length()) if height != 64 else 64
    canvases = torch.stack([_canvas(s.background, s.variant, unit, s.finish == "appealing") for s in scenes])
    shift = torch.tensor([s.shift for s in scenes])
    out = torch.empty(len(scenes), 3, frames, height, width)
    still = torch.tensor([s.camera == "static" for s in scenes])
    grid = pixel_grid(height, width)
    for chosen, count in ((still, 1), (~still, frames)):
        if not bool(chosen.any()):
            continue
        cam = geo.camera[chosen, :count]
        x = (grid[0, :, 0] / cam[..., 2:] + cam[..., :1] + shift[chosen, None, None]) / (
            backgrounds.WIDTH / 2
        )
        y = (grid[:, 0, 1] / cam[..., 2:] + cam[..., 1:2]) / (backgrounds.HEIGHT / 2)
        where = torch.stack(
            [x[:, :, None, :].expand(-1, -1, height, -1), y[..., None].expand(-1, -1, -1, width)], -1
        ).flatten(1, 2)
        drawn = F.grid_sample(
            canvases[chosen], where, mode="bilinear", padding_mode="border", align_corners=False
        )
        out[chosen] = drawn.unflatten(2, (count, height)).expand(-1, -1, frames, -1, -1)
    return out


@lru_cache(maxsize=512)
def _canvas(kind: str, variant: int, unit: int, soft: bool) -> Tensor:
    pixels, _ = backgrounds.paint(kind, variant, unit)
    canvas = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    return soften(canvas, unit) if soft else canvas


def check_size(count: int, num_frames: int, height: int, width: int, fps: float) -> None:
    """Refuse sizes that cannot be drawn, in one sentence."""
    if min(num_frames, height, width) < 1 or not 0 < fps <= 1000:
        raise UserError(
            f"a clip of {num_frames} frames of {height}x{width} at {fps} frames a second cannot be drawn: "
            "every number must be at least 1, the rate at most 1000"
        )
    if width > 2 * height:
        raise UserError(
            f"{height}x{width} is wider than the world, which ends at twice the height: make it narrower"
        )
    if count * num_frames * height * width > MAX_PIXELS:
        raise UserError(
            f"{count} clips of {num_frames} frames of {height}x{width} are too many for one batch"
        )


def render_float(
    scenes: Sequence[Scene],
    num_frames: int,
    height: int,
    width: int,
    fps: float,
    start: Sequence[float] | None = None,
    zoom: float = 1.0,
) -> Tensor:
    """Frames in [0, 1]: float32 (B, 3, T, H, W)."""
    check_size(len(scenes), num_frames, height, width, fps)
    geo = geometry(scenes, num_frames, fps, start, zoom)
    picture = background_layer(scenes, geo, height, width)
    signed = torch.tensor([s.sign is not None for s in scenes])
    if bool(signed.any()):
        boards = sign_layer([s for s in scenes if s.sign is not None], geo.camera[signed], height, width)
        picture[signed] = picture[signed] * (1 - boards[:, 3:]) + boards[:, :3]
    appealing = torch.tensor([s.finish == "appealing" for s in scenes])
    for k in reversed(range(geo.size.shape[1])):  # companions are deeper than the subject
        present = geo.artwork[:, k] >= 0
        if not bool(present.any()):
            continue
        if bool(present.all()):
            picture = _compose(picture, geo, k, appealing, slice(None), height, width)
        else:
            rows = present.nonzero()[:, 0]
            picture[rows] = _compose(picture[rows], geo, k, appealing[rows], rows, height, width)
    if bool(appealing.any()):
        picture[appealing] = grade(picture[appealing])
    return picture


def _compose(
    picture: Tensor, geo: Geometry, k: int, appealing: Tensor, rows: Tensor | slice, height: int, width: int
) -> Tensor:
    chosen = Geometry(*(getattr(geo, name)[rows] for name in geo.__dataclass_fields__))
    layer = actor_layers(chosen, k, height, width)
    if bool(appealing.any()):
        picture[appealing] = shadow(picture[appealing], layer[appealing, 3:])
    return picture.mul_(1 - layer[:, 3:]).add_(layer[:, :3])


def whole_view(height: int, width: int) -> float:
    """The zoom at which a frame shows all that a square one would: below 1 when the frame is narrower than high."""
    return min(1.0, width / height)


def render(
    scenes: Sequence[Scene],
    num_frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    start: Sequence[float] | None = None,
    zoom: float = 1.0,
) -> Tensor:
    """Draw scenes: uint8 (B, 3, T, H, W). Frame i shows time start + i / fps; `start` is one time a scene, or 0.

    `zoom` below 1 shows more of the world around: scenes are laid out for a square, see `whole_view`.

    Raises:
        UserError: the size cannot be drawn (see `check_size`).
    """
    check_size(len(scenes), num_frames, height, width, fps)
    out = torch.empty(len(scenes), 3, num_frames, height, width, dtype=torch.uint8)
    for k in range(0, len(scenes), CHUNK):
        part = slice(k, k + CHUNK)
        moments = start[part] if start else None
        drawn = render_float(scenes[part], num_frames, height, width, fps, moments, zoom)
        out[part] = drawn.mul_(255).add_(0.5).clamp_(0, 255)
    return out
