"""Blur kernels of the Real-ESRGAN degradation: Gaussians of three shapes, and the sinc of a circular low-pass.

Real-ESRGAN (arXiv 2107.10833, sections 3.2 and 3.3). Every kernel is (size, size), sums to one, and size is odd.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = Literal["gaussian", "generalized", "plateau"]


def bell(
    size: int, sigma: tuple[float, float], angle: float = 0.0, shape: Shape = "gaussian", beta: float = 1.0
) -> Tensor:
    """A blur whose level lines are ellipses.

    sigma: along the two axes of the ellipse, in pixels; equal ones make it isotropic. angle: of the first axis.
    shape: with q the squared distance in units of sigma, exp(-q / 2), exp(-q^beta / 2) or 1 / (1 + q^beta).
    """
    if shape not in get_args(Shape):
        raise ValueError(f"shape={shape!r} is not known: choose gaussian, generalized or plateau")
    offsets = _offsets(size)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    distance = (along / sigma[0]).square() + (across / sigma[1]).square()
    if shape == "plateau":
        kernel = 1 / (1 + distance.pow(beta))
    else:
        kernel = torch.exp(-0.5 * (distance.pow(beta) if shape == "generalized" else distance))
    return (kernel / kernel.sum()).float()


def sinc(size: int, cutoff: float) -> Tensor:
    """The ideal circular low-pass at `cutoff` radians a pixel, cut to the kernel: it rings as sharpening does."""
    offsets = _offsets(size)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    radius = (x.square() + y.square()).sqrt()
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius.clamp_min(1e-12))
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return (kernel / kernel.sum()).float()


def filtered(frames: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of (N, C, H, W) under the kernel, borders mirrored (repeated where the picture is too small)."""
    radius = len(kernel) // 2
    mode = "reflect" if min(frames.shape[-2:]) > radius else "replicate"
    padded = F.pad(frames, (radius,) * 4, mode=mode)
    flat = padded.flatten(0, 1).unsqueeze(1)  # (N * C, 1, H, W)
    return F.conv2d(flat, kernel.to(frames)[None, None]).reshape(frames.shape)


def _offsets(size: int) -> Tensor:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel of {size} pixels has no middle: give an odd size")
    return torch.arange(size, dtype=torch.float64) - size // 2
