"""How a subject grows and turns, by trying: windows of one frame, scaled or turned, against those of a later one.

No parameters: for each candidate the remaining difference is measured, and the candidate that fits leaves the least.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.world.judges.networks import luminance

WINDOW = 24  # pixels of a window
SPAN = 2.0  # side of a window over the subject's size
STARTS = (0, 2, 4, 6, 8, 10, 12)  # frames that are compared with later ones
# (frames later, logs of scales, turns in radians, clockwise)
TRIALS: tuple[tuple[int, tuple[float, ...], tuple[float, ...]], ...] = (
    (3, (-0.36, -0.24, -0.12, -0.06, 0.0, 0.06, 0.12, 0.24, 0.36), (0.0,)),
    (3, (0.0,), (-1.2, -0.6, -0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45, 0.6, 1.2)),
    (1, (0.0,), (-0.4, -0.14, 0.0, 0.14, 0.4)),
)
CURVES = sum(len(scales) * len(turns) for _, scales, turns in TRIALS)


def _warped(windows: Tensor, scale: float, turn: float) -> Tensor:
    """The same change to all of (N, S, S): grown by e^scale and turned clockwise."""
    cos, sin = math.cos(turn) * math.exp(-scale), math.sin(turn) * math.exp(-scale)
    theta = windows.new_tensor([[[cos, sin, 0.0], [-sin, cos, 0.0]]])
    grid = F.affine_grid(theta, [1, 1, *windows.shape[1:]], align_corners=False)
    return F.grid_sample(windows[None], grid, padding_mode="border", align_corners=False)[0]


def following_windows(clips: Tensor, boxes: Tensor) -> Tensor:
    """Windows of one size that follow the subject: (B, 3, T, H, W), boxes (B, 3, T) -> luminance (B, T, 24, 24)."""
    batch, _, frames = clips.shape[:3]
    places = F.avg_pool1d(F.pad(boxes[:, :2], (1, 1), mode="replicate"), 3, 1)
    half = 0.5 * SPAN * boxes[:, 2].median(1).values.clamp(-3, 1).exp()
    theta = clips.new_zeros(batch, frames, 2, 3)
    theta[..., 0, 0] = theta[..., 1, 1] = half[:, None]
    theta[..., 2] = 2 * places.transpose(1, 2)
    grid = F.affine_grid(theta.flatten(0, 1), [batch * frames, 1, WINDOW, WINDOW], align_corners=False)
    flat = luminance(clips).transpose(1, 2).flatten(0, 1)
    return F.grid_sample(flat, grid, align_corners=False).view(batch, frames, WINDOW, WINDOW)


def curves(clips: Tensor, boxes: Tensor) -> Tensor:
    """Logs of what is left after each trial, less the mean of its group: (B, 3, T, H, W), (B, 3, T) -> (B, 25, 7)."""
    windows = following_windows(clips, boxes)
    steps = (torch.arange(WINDOW, device=clips.device) + 0.5) / WINDOW * 2 - 1
    disc = (steps[:, None].square() + steps[None].square() < 0.8).to(windows)
    disc = disc / disc.sum()
    starts = torch.tensor(STARTS, device=clips.device)
    groups = []
    for lag, scales, turns in TRIALS:
        before, after = windows[:, starts].flatten(0, 1), windows[:, starts + lag].flatten(0, 1)
        left = [((_warped(before, s, r) - after).abs() * disc).sum((1, 2)) for s in scales for r in turns]
        logs = (torch.stack(left, 1) + 0.01).log().unflatten(0, (len(clips), -1))  # (B, 7, trials)
        groups.append(logs - logs.mean(2, keepdim=True))
    return torch.cat(groups, 2).transpose(1, 2)
