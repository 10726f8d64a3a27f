"""The appealing finish: soft light, shadow and depth of field, so that quality-tuning has something to find."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _blur(pictures: Tensor, radius: int) -> Tensor:
    """Twice a box blur, which is close to a tent: (N, C, H, W) -> the same shape."""
    if radius < 1:
        return pictures
    for _ in range(2):
        padded = F.pad(pictures, (radius, radius, radius, radius), mode="replicate")
        pictures = F.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return pictures


def soften(canvas: Tensor, unit: int) -> Tensor:
    """Depth of field for a background canvas (3, H, W): out of focus, by 1/40 of the frame height."""
    return _blur(canvas[None], max(1, round(unit / 40)))[0]


def shadow(picture: Tensor, alpha: Tensor, strength: float = 0.38) -> Tensor:
    """Darken the picture under a blurred, offset copy of the actor: (B, 3, T, H, W), (B, 1, T, H, W)."""
    batch, _, frames, height, width = alpha.shape
    flat = alpha.transpose(1, 2).flatten(0, 1)
    dx, dy = max(1, round(height / 32)), max(1, round(height / 20))
    moved = F.pad(flat, (dx, 0, dy, 0))[..., :height, :width]
    soft = _blur(moved, max(1, round(height / 32)))
    return picture * (1 - strength * soft.unflatten(0, (batch, frames)).transpose(1, 2))


def grade(picture: Tensor) -> Tensor:
    """Warm light from the upper left, a vignette, gentle contrast and richer colour: [0, 1] -> [0, 1]."""
    height, width = picture.shape[-2:]
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None]
    light = 1.1 - 0.1 * x - 0.1 * y - 0.16 * (x * x + y * y)
    warm = torch.tensor([1.03, 1.0, 0.95])[:, None, None, None]
    lit = picture * light * warm
    grey = lit.mean(1, keepdim=True)
    rich = (grey + 1.22 * (lit - grey)).clamp(0, 1)
    return rich + 0.35 * (rich * rich * (3 - 2 * rich) - rich)
