"""The second-order degradation of Real-ESRGAN for clips: what a low-resolution video from the wild has been through.

Twice: blur, resize, noise, JPEG; at the end a sinc filter, before or after the second JPEG. The draws are of a clip, so
that a kernel, a size and a quality are the same in all its frames; only the noise differs from frame to frame.
Our own code from the paper (arXiv 2107.10833) and the published settings; sharpening the target is left out.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from kinema.systems.movie_gen.upsampler.kernels import Shape, bell, filtered, sinc

Span = tuple[float, float]
T = TypeVar("T")

KERNELS: tuple[tuple[Shape, bool], ...] = (  # shape, isotropic
    ("gaussian", True), ("gaussian", False), ("generalized", True), ("generalized", False),
    ("plateau", True), ("plateau", False),
)  # fmt: skip
KERNEL_ODDS = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
BETAS: dict[Shape, Span] = {"gaussian": (1.0, 1.0), "generalized": (0.5, 4.0), "plateau": (1.0, 2.0)}
MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True, kw_only=True)
class Order:
    """One round of blur, resize, noise and JPEG. Noise in steps of 255; the defaults are the published first round."""

    blur_odds: float = 1.0
    sinc_odds: float = 0.1
    sigma: Span = (0.2, 3.0)
    resize_odds: tuple[float, float, float] = (0.2, 0.7, 0.1)  # up, down, keep
    resize: Span = (0.15, 1.5)
    gaussian_odds: float = 0.5  # else Poisson
    noise: Span = (1.0, 30.0)
    poisson: Span = (0.05, 3.0)
    grey_odds: float = 0.4
    quality: Span = (30.0, 95.0)


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Both rounds and the last filter. `published()` is Real-ESRGAN's, `mild()` what small flat pictures bear."""

    first: Order = Order()
    second: Order = Order(
        blur_odds=0.8, sigma=(0.2, 1.5), resize_odds=(0.3, 0.4, 0.3), resize=(0.3, 1.2), noise=(1.0, 25.0),
        poisson=(0.05, 2.5),
    )  # fmt: skip
    final_sinc_odds: float = 0.8
    kernel_sizes: tuple[int, ...] = (7, 9, 11, 13, 15, 17, 19, 21)

    @classmethod
    def published(cls) -> Degradation:
        """The settings of Real-ESRGAN's twofold model, for pictures of a few hundred pixels."""
        return cls()

    @classmethod
    def mild(cls) -> Degradation:
        """For clips of 128 pixels, where the published blur and loss of size leave nothing to recognise."""
        first = Order(sigma=(0.2, 1.4), resize=(0.5, 1.3), noise=(1.0, 12.0), poisson=(0.05, 0.8))
        second = Order(
            blur_odds=0.5, sigma=(0.2, 0.8), resize_odds=(0.3, 0.4, 0.3), resize=(0.7, 1.2), noise=(1.0, 8.0),
            poisson=(0.05, 0.5), quality=(45.0, 95.0),
        )  # fmt: skip
        return cls(first=first, second=second, kernel_sizes=(7, 9, 11))

    def __call__(self, clips: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
        """Spoil clips and make them small.

        Args:
            clips: (B, 3, T, H, W) in [-1, 1].
            size: height and width of the result.
            generator: on the CPU; decides everything. A clip takes its draws in turn.

        Returns:
            (B, 3, T, *size) in [-1, 1], rounded to 8 bits.
        """
        return torch.stack([self._clip(clip, size, generator) for clip in clips])

    def _clip(self, clip: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
        frames = clip.transpose(0, 1) / 2 + 0.5  # (T, 3, H, W) in [0, 1]
        height, width = frames.shape[-2:]
        frames = self._round(frames, (height, width), self.first, generator)
        frames = jpeg(frames.clamp(0, 1), _uniform(self.first.quality, generator))
        frames = self._round(frames, size, self.second, generator)
        quality = _uniform(self.second.quality, generator)
        early = _chance(0.5, generator)  # the filter before JPEG, or behind it
        for last in (early, not early):
            if last:
                frames = F.interpolate(frames, size, mode=_choose(MODES, None, generator))
                if _chance(self.final_sinc_odds, generator):
                    extent = _choose(self.kernel_sizes, None, generator)
                    frames = filtered(frames, sinc(extent, _uniform((math.pi / 3, math.pi), generator)))
            else:
                frames = jpeg(frames.clamp(0, 1), quality)
        levels = (frames.clamp(0, 1) * 255).round() / 255
        return (2 * levels - 1).transpose(0, 1)

    def _round(self, frames: Tensor, size: tuple[int, int], order: Order, generator: Generator) -> Tensor:
        """Blur, resize and noise: (T, 3, H, W) -> (T, 3, h, w), about `size`."""
        if _chance(order.blur_odds, generator):
            frames = filtered(frames, self.kernel(order, generator))
        way = _choose(("up", "down", "keep"), order.resize_odds, generator)
        low, high = order.resize
        spans = {"up": (1.0, high), "down": (low, 1.0), "keep": (1.0, 1.0)}
        scale = _uniform(spans[way], generator)
        wanted = [max(8, round(side * scale)) for side in size]
        frames = F.interpolate(frames, wanted, mode=_choose(MODES, None, generator))
        grey = _chance(order.grey_odds, generator)
        if _chance(order.gaussian_odds, generator):
            return gaussian_noise(frames, _uniform(order.noise, generator) / 255, grey, generator)
        return poisson_noise(frames, _uniform(order.poisson, generator), grey, generator)

    def kernel(self, order: Order, generator: Generator) -> Tensor:
        """A blur kernel of one of the seven kinds."""
        size = _choose(self.kernel_sizes, None, generator)
        if _chance(order.sinc_odds, generator):
            lowest = math.pi / (3 if size < 13 else 5)
            return sinc(size, _uniform((lowest, math.pi), generator))
        shape, isotropic = _choose(KERNELS, KERNEL_ODDS, generator)
        across, along = _uniform(order.sigma, generator), _uniform(order.sigma, generator)
        angle = _uniform((-math.pi, math.pi), generator)
        sigma = (across, across) if isotropic else (across, along)
        low, high = BETAS[shape]  # half of the draws from either side of 1
        side = (low, 1.0) if _chance(0.5, generator) else (1.0, high)
        return bell(size, sigma, angle, shape, _uniform(side, generator))


def gaussian_noise(frames: Tensor, sigma: float, grey: bool, generator: Generator) -> Tensor:
    """Add noise of one strength to (T, C, H, W) in [0, 1]; a grey one is the same in all channels. Clamped."""
    shape = (len(frames), 1 if grey else frames.shape[1], *frames.shape[2:])
    return (frames + sigma * torch.randn(shape, generator=generator)).clamp(0, 1)


def poisson_noise(frames: Tensor, scale: float, grey: bool, generator: Generator) -> Tensor:
    """Add `scale` times the noise of counting as many photons as a frame has levels of brightness. Clamped."""
    clean = frames.clamp(0, 1)
    if grey:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        clean = (clean * weights).sum(1, keepdim=True)
    clean = (clean * 255).round()
    used = [len(torch.bincount(frame.flatten().long()).nonzero()) for frame in clean]
    clean = clean / 255
    noise = torch.empty_like(clean)
    for i, frame in enumerate(clean):
        levels = 2.0 ** math.ceil(math.log2(max(2, used[i])))
        noise[i] = torch.poisson(frame * levels, generator=generator) / levels - frame
    return (frames + scale * noise).clamp(0, 1)


def jpeg(frames: Tensor, quality: float) -> Tensor:
    """Each frame of (T, 3, H, W) in [0, 1] through a real JPEG codec."""
    from PIL import Image

    made = []
    for frame in (frames * 255).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=round(quality))
        made.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255


def _uniform(span: Span, generator: Generator) -> float:
    return span[0] + (span[1] - span[0]) * float(torch.rand((), generator=generator))


def _chance(odds: float, generator: Generator) -> bool:
    return float(torch.rand((), generator=generator)) < odds


def _choose(options: Sequence[T], odds: Sequence[float] | None, generator: Generator) -> T:
    weights = torch.ones(len(options)) if odds is None else torch.tensor(odds)
    return options[int(torch.multinomial(weights, 1, generator=generator))]
