"""Random crops of pictures and clips for training, drawn from a generator of the caller's."""

# C channels, T frames, H W rows and columns

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_resized_crop(
    x: Tensor,
    size: int,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A rectangle of random area and shape, resized: (C, H, W) -> (C, size, size), or (C, T, H, W), all frames alike.

    Args:
        scale: its area, as shares of the picture's.
        ratio: its width over its height, log-uniform. What does not fit after ten draws becomes the largest middle.
    """
    top, left, rows, columns = _rectangle(x.shape[-2], x.shape[-1], generator, scale, ratio)
    cut = x[..., top : top + rows, left : left + columns]
    frames = cut if cut.ndim == 3 else cut.transpose(0, 1)  # (T, C, h, w)
    batch = frames[None] if cut.ndim == 3 else frames
    resized = F.interpolate(batch, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized[0] if cut.ndim == 3 else resized.transpose(0, 1)


def random_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored left to right, half of the time."""
    return x.flip(-1) if _uniform(generator) < 0.5 else x


def _rectangle(
    height: int,
    width: int,
    generator: torch.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    low, high = (math.log(value) for value in ratio)
    for _ in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * _uniform(generator))
        shape = math.exp(low + (high - low) * _uniform(generator))
        rows, columns = round((area / shape) ** 0.5), round((area * shape) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            top = int((height - rows + 1) * _uniform(generator))
            left = int((width - columns + 1) * _uniform(generator))
            return top, left, rows, columns
    shape = min(max(width / height, ratio[0]), ratio[1])
    rows, columns = min(height, round(width / shape)), min(width, round(height * shape))
    return (height - rows) // 2, (width - columns) // 2, max(rows, 1), max(columns, 1)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device))
