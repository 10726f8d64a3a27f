"""Signs as pictures: a board with a word, its post or its ropes, seen through the camera.

Shapes: B scenes, T frames, H W pixels. Inside, lengths are units of the letters' grid, so that one drawing fits all
sizes, and edges are as wide as a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kinema.world.letters import letter_cover, line_cover
from kinema.world.scene import Scene
from kinema.world.signs import SIGN_COLOURS, SIGN_DEPTH, Sign

WOOD, ROPE = (96, 70, 46), (66, 58, 52)
ROUND = 1.0  # units, the radius of the board's corners
POST, THIN = 0.8, 0.22  # units, half of a post's and of a rope's width
RIM = 0.55  # units, a darker or lighter edge around the board


def foot(background: str) -> float:
    """Where a post meets the ground: y on the panorama at which the ground is as far as the sign."""
    from kinema.world.truth.depth import CAMERA_HEIGHT, FAR, FOCAL, horizon  # which stand on the renderer

    return horizon(background) + CAMERA_HEIGHT * FOCAL * (1 / SIGN_DEPTH - 1 / FAR[background])


def _colour(rgb: Sequence[int]) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32)[:, None, None, None] / 255


def _over(picture: Tensor, cover: Tensor, rgb: Tensor) -> Tensor:
    """A colour (3, 1, 1, 1) laid over a premultiplied picture (4, T, H, W) where cover (T, H, W) says."""
    front = torch.cat([cover * rgb, cover[None]])
    return picture * (1 - cover) + front


def _draw(sign: Sign, ground: float, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """One sign on nothing. x (T, 1, W), y (T, H, 1) in units from its middle, scale (T, 1, 1) pixels to a unit."""
    half_w, half_h = (0.5 * length / sign.unit for length in sign.board_size)
    size = torch.broadcast_shapes(x.shape, y.shape)
    out = torch.zeros(4, *size)
    if sign.kind == "post":
        cover = line_cover(x * scale, POST * scale) * ((ground - y) * scale + 0.5).clamp(0, 1) * (y > 0)
        out = _over(out, cover.expand(size), _colour(WOOD))
    else:
        ropes = line_cover((x.abs() - 0.7 * half_w) * scale, THIN * scale) * (y < 0)
        out = _over(out, ropes.expand(size), _colour(ROPE))
    right, down = x.abs() - (half_w - ROUND), y.abs() - (half_h - ROUND)
    outside = torch.hypot(right.clamp(min=0).expand(size), down.clamp(min=0).expand(size))
    edge = outside + torch.maximum(right, down).clamp(max=0) - ROUND  # units from the rim, negative inside
    board, ink = (_colour(rgb) for rgb in SIGN_COLOURS[sign.colour])
    out = _over(out, (0.5 - edge * scale).clamp(0, 1), 0.65 * board + 0.35 * ink)
    out = _over(out, (0.5 - (edge + RIM) * scale).clamp(0, 1), board)
    return _over(out, letter_cover(sign.word, x.expand(size), y.expand(size), scale), ink)


def sign_layer(
    scenes: Sequence[Scene], camera: Tensor, height: int, width: int, moved: Tensor | None = None
) -> Tensor:
    """Signs alone on nothing: premultiplied RGBA in [0, 1], (B, 4, T, H, W); nothing for scenes without one.

    Args:
        scenes: B scenes.
        camera: x, y, zoom, (B, T, 3).
        height, width: of the frame in pixels.
        moved: frame heights that a sign stands further to the right on the screen, (B, T); for a second camera.
    """
    batch, frames = camera.shape[:2]
    ys = (torch.arange(height) + 0.5) / height - 0.5
    xs = ((torch.arange(width) + 0.5) / width - 0.5) * (width / height)
    out = torch.zeros(batch, 4, frames, height, width)
    for b, scene in enumerate(scenes):
        if scene.sign is None:
            continue
        count = 1 if scene.camera == "static" and moved is None else frames
        look = camera[b, :count, :, None, None]  # (T, 3, 1, 1)
        zoom, unit = look[:, 2], scene.sign.unit
        shift = moved[b, :, None, None] if moved is not None else 0.0
        x = ((xs - shift) / zoom + look[:, 0] - scene.sign.x) / unit
        y = (ys[:, None] / zoom + look[:, 1] - scene.sign.y) / unit
        ground = (foot(scene.background) - scene.sign.y) / unit
        out[b] = _draw(scene.sign, ground, x, y, zoom * (unit * height))
    return out
