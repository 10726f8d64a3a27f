"""A second camera to the right of the first: its picture, the calibration, and the true disparity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.world import backgrounds
from kinema.world.finish import grade, shadow
from kinema.world.renderer import Geometry, _canvas, actor_layers, pixel_grid, render
from kinema.world.scene import Scene
from kinema.world.sign_picture import sign_layer
from kinema.world.signs import SIGN_DEPTH
from kinema.world.truth.depth import FOCAL, background_rows, depth_of
from kinema.world.truth.layers import layers, seen_at, take_apart

BASELINE = 0.12  # metres, as wide as glasses


@dataclass(frozen=True)
class Calibration:
    """A rectified pair: equal cameras, the right one `baseline` metres along +x, rows aligned."""

    focal: Tensor  # (B, T) pixels; zoom changes it
    baseline: float  # metres
    principal_point: tuple[float, float]  # x, y in pixels, the first pixel's centre at 0

    def disparity(self, depth: Tensor) -> Tensor:
        """Metres (B, 1, T, H, W) into pixels between the views: d = focal * baseline / Z."""
        return self.focal[:, None, :, None, None] * self.baseline / depth

    def depth(self, disparity: Tensor) -> Tensor:
        """Pixels between the views (B, 1, T, H, W) into metres."""
        return self.focal[:, None, :, None, None] * self.baseline / disparity

    def matrix(self) -> Tensor:
        """Either camera's intrinsic matrix: (B, T, 3, 3)."""
        out = torch.zeros(*self.focal.shape, 3, 3)
        out[..., 0, 0] = out[..., 1, 1] = self.focal
        out[..., 0, 2], out[..., 1, 2] = self.principal_point
        out[..., 2, 2] = 1
        return out


@dataclass(frozen=True)
class StereoPair:
    """Both views and the truth between them. A point at x in the left view stands at x - disparity in the right."""

    left: Tensor  # uint8 (B, 3, T, H, W), what `render` draws
    right: Tensor  # uint8 (B, 3, T, H, W)
    disparity: Tensor  # float32 (B, 1, T, H, W) pixels, of the left view
    visible: Tensor  # bool (B, 1, T, H, W): the right camera sees the left pixel's point too
    calibration: Calibration


def shifted_background(
    scenes: Sequence[Scene], geo: Geometry, shift: Tensor, height: int, width: int
) -> Tensor:
    """Backgrounds of a camera that sees every row displaced: (B, T, H) frame heights -> (B, 3, T, H, W).

    A shift of nothing gives `render.background_layer` bit for bit.
    """
    frames = geo.camera.shape[1]
    unit = max(64, 1 << (height - 1).bit_length())
    canvases = [_canvas(s.background, s.variant, unit, s.finish == "appealing") for s in scenes]
    grid, out = pixel_grid(height, width), []
    for b, scene in enumerate(scenes):
        camera = geo.camera[b]
        x = (grid[0, :, 0] / camera[:, 2:] + camera[:, :1] + scene.shift)[:, None, :] + shift[b][..., None]
        y = (grid[:, 0, 1] / camera[:, 2:] + camera[:, 1:2]) / (backgrounds.HEIGHT / 2)
        where = torch.stack([x / (backgrounds.WIDTH / 2), y[..., None].expand(-1, -1, width)], -1)
        drawn = F.grid_sample(
            canvases[b][None],
            where.flatten(0, 1)[None],
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        out.append(drawn[0].unflatten(1, (frames, height)))
    return torch.stack(out)


def _compose(
    scenes: Sequence[Scene], picture: Tensor, boards: Tensor, geo: Geometry, height: int, width: int
) -> Tensor:
    """Signs, then actors over a background as `render` lays them: (B, 3, T, H, W), (B, 4, T, H, W) -> uint8."""
    picture = picture * (1 - boards[:, 3:]) + boards[:, :3]
    appealing = torch.tensor([s.finish == "appealing" for s in scenes])
    for k in reversed(range(geo.size.shape[1])):
        layer = actor_layers(geo, k, height, width)
        if bool(appealing.any()):
            picture[appealing] = shadow(picture[appealing], layer[appealing, 3:])
        picture = picture * (1 - layer[:, 3:]) + layer[:, :3]
    if bool(appealing.any()):
        picture[appealing] = grade(picture[appealing])
    return picture.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)


def stereo(
    scenes: Sequence[Scene],
    num_frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    baseline: float = BASELINE,
) -> StereoPair:
    """Draw the scenes for two cameras. What only the right one sees is drawn too, not guessed.

    Actors move to the left by focal * baseline / depth, the background's rows each by their own distance.

    Raises:
        UserError: the size cannot be drawn, there are no scenes, or the baseline is not within 0 to 1 m.
    """
    if not 0 <= baseline <= 1:
        raise UserError(f"the baseline is {baseline} m: expected 0 to 1")
    apart = layers(scenes, num_frames, height, width, fps)
    geo = apart.geometry
    zoom = geo.camera[..., 2]
    calibration = Calibration(
        focal=zoom * (FOCAL * height), baseline=baseline, principal_point=((width - 1) / 2, (height - 1) / 2)
    )
    moved = geo.centre.clone()
    moved[..., 0] -= zoom[:, None] * (FOCAL * baseline) / geo.depth[..., None]
    right_geo = replace(geo, centre=moved)
    rows = FOCAL * baseline / background_rows(scenes, geo, height)
    boards = sign_layer(scenes, geo.camera, height, width, zoom * (-FOCAL * baseline / SIGN_DEPTH))
    behind = shifted_background(scenes, geo, rows, height, width)
    right = _compose(scenes, behind, boards, right_geo, height, width)
    disparity = calibration.disparity(depth_of(scenes, apart))
    there = pixel_grid(height, width).expand(*apart.front.shape, 2).clone()
    there[..., 0] -= disparity[:, 0] / height
    visible = seen_at(take_apart(right_geo, boards[:, 3:], height, width), there, apart.front)[:, None]
    return StereoPair(
        left=render(scenes, num_frames, height, width, fps),
        right=right,
        disparity=disparity,
        visible=visible,
        calibration=calibration,
    )
