"""What is seen where: each actor's own coverage, what of it nothing hides, and the foremost layer of a pixel.

Shapes: B scenes, T frames, K actors (padded with nothing; the first is the foremost), H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.world.renderer import Geometry, actor_layers, check_size, geometry, pixel_grid
from kinema.world.scene import Scene
from kinema.world.sign_picture import sign_layer

BACKGROUND = -1  # the background's number among layers
SIGN = -2  # the sign's, which stands before the background and behind every actor


@dataclass(frozen=True)
class Layers:
    """The scene taken apart. A pixel's shares, `visible` over the actors, `sign` and `behind`, add up to 1."""

    geometry: Geometry
    visible: Tensor  # (B, K, T, H, W) the share of the pixel that shows this actor
    behind: Tensor  # (B, 1, T, H, W) the share that shows the background
    front: (
        Tensor  # (B, T, H, W) number of the foremost layer that covers half of the pixel, SIGN or BACKGROUND
    )
    sign: Tensor  # (B, 1, T, H, W) the share that shows the sign

    def pick(self, per_actor: Tensor, background: Tensor) -> Tensor:
        """The foremost layer's value: (B, K, T) and (B, T, H, W) -> (B, T, H, W)."""
        out = background
        for k in range(per_actor.shape[1]):
            out = torch.where(self.front == k, per_actor[:, k, :, None, None], out)
        return out


def take_apart(geo: Geometry, boards: Tensor, height: int, width: int) -> Layers:
    """Draw every actor's coverage at a given geometry and let the near ones hide the far ones.

    `boards` is the signs' own coverage, (B, 1, T, H, W) in [0, 1].
    """
    alpha = torch.stack(
        [actor_layers(geo, k, height, width)[:, 3] for k in range(geo.size.shape[1])], 1
    ).clamp_(0, 1)
    free = torch.ones_like(alpha[:, 0])
    visible = torch.empty_like(alpha)
    front = torch.full(free.shape, BACKGROUND)
    for k in range(alpha.shape[1]):
        visible[:, k] = alpha[:, k] * free
        free = free * (1 - alpha[:, k])
        front = torch.where((front == BACKGROUND) & (alpha[:, k] >= 0.5), k, front)
    front = torch.where((front == BACKGROUND) & (boards[:, 0] >= 0.5), SIGN, front)
    sign = boards * free[:, None]
    return Layers(geometry=geo, visible=visible, behind=free[:, None] - sign, front=front, sign=sign)


def layers(
    scenes: Sequence[Scene], num_frames: int = 16, height: int = 64, width: int = 64, fps: float = 8.0
) -> Layers:
    """Take scenes apart into layers. Raises UserError for sizes that cannot be drawn and for no scenes."""
    if not scenes:
        raise UserError("there are no scenes: expected at least one")
    check_size(len(scenes), num_frames, height, width, fps)
    geo = geometry(scenes, num_frames, fps)
    return take_apart(geo, sign_layer(scenes, geo.camera, height, width)[:, 3:], height, width)


def masks(
    scenes: Sequence[Scene], num_frames: int = 16, height: int = 64, width: int = 64, fps: float = 8.0
) -> Tensor:
    """What can be seen of each actor: (B, K, T, H, W) in [0, 1]; what a nearer actor hides is not in it.

    Raises:
        UserError: the size cannot be drawn, or there are no scenes.
    """
    return layers(scenes, num_frames, height, width, fps).visible


def sign_masks(
    scenes: Sequence[Scene], num_frames: int = 16, height: int = 64, width: int = 64, fps: float = 8.0
) -> Tensor:
    """What can be seen of each scene's sign, board, post and ropes: (B, 1, T, H, W) in [0, 1]; 0 without a sign.

    Raises:
        UserError: the size cannot be drawn, or there are no scenes.
    """
    return layers(scenes, num_frames, height, width, fps).sign


def seen_at(apart: Layers, where: Tensor, layer: Tensor) -> Tensor:
    """Whether the layer is the one seen at a place of the frame.

    Args:
        apart: layers of the frames looked at, (B, K, T, H, W).
        where: places in frame heights, (B, T, H, W, 2) x, y.
        layer: numbers of layers looked for, (B, T, H, W).

    Returns:
        bool (B, T, H, W): inside the frame, and at least half of what is there shows that layer.
    """
    batch, frames, height, width = layer.shape
    aspect = width / height
    shares = torch.cat([apart.visible, apart.sign, apart.behind], 1).transpose(1, 2).flatten(0, 1)
    unit = torch.stack([where[..., 0] * (2 / aspect), where[..., 1] * 2], -1)
    found = F.grid_sample(
        shares, unit.flatten(0, 1), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    last = shares.shape[1] - 1  # shares are (B*T, K+2, H, W)
    number = torch.where(layer == BACKGROUND, last, torch.where(layer == SIGN, last - 1, layer))
    number = number.flatten(0, 1)[:, None]
    share = found.gather(1, number)[:, 0].unflatten(0, (batch, frames))
    edge = pixel_grid(height, width)[-1, -1]  # the last pixel's centre
    inside = (where[..., 0].abs() <= edge[0] + 1e-5) & (where[..., 1].abs() <= edge[1] + 1e-5)
    return inside & (share >= 0.5)
