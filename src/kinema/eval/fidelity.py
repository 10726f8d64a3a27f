"""How close two pictures or clips are, pixel by pixel and structure by structure: PSNR and SSIM.

Pictures are (..., C, H, W) in [low, low + data_range]; video in the networks' layout goes in after
`clip.transpose(1, 2)`, so that frames are a leading axis.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim < 3:
        raise UserError(
            f"pictures of shapes {tuple(a.shape)} and {tuple(b.shape)}: expected equal (..., C, H, W)"
        )
    return a.double(), b.double()


def psnr(a: Tensor, b: Tensor, data_range: float = 2.0) -> Tensor:
    """Peak signal-to-noise ratio in dB over the last three axes: (..., C, H, W) -> (...), infinite for equal ones.

    data_range is the width of the value range: 2 for [-1, 1], 255 for uint8.
    """
    first, second = _pair(a, b)
    error = (first - second).square().mean((-3, -2, -1))
    return (10 * torch.log10(data_range**2 / error)).float()


def _window(sigma: float, radius: int) -> Tensor:
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


def _local_mean(x: Tensor, window: Tensor) -> Tensor:
    x = F.conv2d(x, window.view(1, 1, -1, 1))
    return F.conv2d(x, window.view(1, 1, 1, -1))


def ssim(a: Tensor, b: Tensor, data_range: float = 2.0, sigma: float = 1.5) -> Tensor:
    """Structural similarity (Wang et al., 2004) with the 11 x 11 Gaussian window: (..., C, H, W) -> (...).

    Means over channels and over all places where the window fits; k1 = 0.01, k2 = 0.03, population variances.
    """
    return ssim_map(a, b, data_range, sigma).mean((-3, -2, -1)).float()


def ssim_map(a: Tensor, b: Tensor, data_range: float = 2.0, sigma: float = 1.5) -> Tensor:
    """Structural similarity at each place where the window fits: (..., C, H, W) -> float64 (..., C, H - 10, W - 10).

    As many rows and columns are left out on either side as the window reaches: 5 of a `sigma` of 1.5.
    """
    first, second = _pair(a, b)
    radius = int(3.5 * sigma + 0.5)
    if min(a.shape[-2:]) < 2 * radius + 1:
        raise UserError(
            f"pictures of {a.shape[-2]}x{a.shape[-1]} are smaller than the {2 * radius + 1}-pixel window"
        )
    height, width = a.shape[-2:]
    x, y = first.reshape(-1, 1, height, width), second.reshape(-1, 1, height, width)
    window = _window(sigma, radius)
    window = window.to(x.device)
    mx, my = _local_mean(x, window), _local_mean(y, window)
    vx = _local_mean(x * x, window) - mx * mx
    vy = _local_mean(y * y, window) - my * my
    vxy = _local_mean(x * y, window) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return similarity.reshape(*a.shape[:-2], *similarity.shape[-2:])
