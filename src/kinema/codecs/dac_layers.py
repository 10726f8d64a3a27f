"""Layers of sound codecs in the manner of the Descript Audio Codec: Snake, weight-normed convolutions, residual units.

Letters: B batch, C channels, N samples or frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 7
DILATIONS = (1, 3, 9)


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """Snake: x + sin(alpha x)^2 / alpha, alpha one value a channel (1, C, 1): (B, C, N) -> same."""
    return x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).square()


class Snake(nn.Module):
    """A periodic activation with a learned frequency for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def init_weights(self) -> None:
        """Frequency 1."""
        nn.init.ones_(self.alpha)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> same."""
        return snake(x, self.alpha)


class NormedConv1d(nn.Module):
    """A convolution whose weight is `weight_g * weight_v / ||weight_v||`, or after `fold` a plain one.

    The norm is taken for each output channel; of a transposed convolution for each input channel, as PyTorch's
    weight_norm does it. The names are those of published checkpoints. `causal` pads on the left only.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        transposed: bool = False,
        causal: bool = False,
        normed: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.kernel = stride, dilation, kernel
        self.transposed, self.causal = transposed, causal
        first, second = (channels, out_channels) if transposed else (out_channels, channels)
        if normed:
            self.weight_g = nn.Parameter(torch.empty(first, 1, 1))
            self.weight_v = nn.Parameter(torch.empty(first, second, kernel))
        else:
            self.weight = nn.Parameter(torch.empty(first, second, kernel))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        if not self.kernels().is_meta:
            self.init_weights()

    @property
    def normed(self) -> bool:
        return "weight_g" in self._parameters

    def init_weights(self) -> None:
        """Truncated normal of 0.02 for convolutions, PyTorch's own start for transposed ones; biases zero."""
        value = torch.empty(self.kernels().shape)
        if self.transposed:
            nn.init.kaiming_uniform_(value, a=5**0.5)
        else:
            nn.init.trunc_normal_(value, std=0.02)
        self.set_kernels(value)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def set_kernels(self, value: Tensor) -> None:
        """Give the convolution this weight, in whatever form it keeps it."""
        if self.normed:
            self.weight_v.copy_(value)
            self.weight_g.copy_(value.flatten(1).norm(dim=1)[:, None, None])
        else:
            self.weight.copy_(value)

    def kernels(self) -> Tensor:
        """The weight that the convolution uses: (out, in, kernel), of a transposed one (in, out, kernel)."""
        if not self.normed:
            return self.weight
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    @torch.no_grad()
    def fold(self) -> None:
        """Replace norm and direction by the weight they stand for."""
        if self.normed:
            weight = self.kernels().detach().clone()
            del self.weight_g, self.weight_v
            self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, out, N / stride), or of a transposed one (B, out, N * stride)."""
        weight, extra = self.kernels(), self.dilation * (self.kernel - 1) + 1 - self.stride
        if self.transposed:
            cut = 0 if self.causal else (extra + 1) // 2
            odd = 0 if self.causal else self.stride % 2
            out = F.conv_transpose1d(x, weight, self.bias, self.stride, cut, odd)
            return out[..., : out.shape[-1] - extra] if self.causal else out
        if self.causal:
            x = F.pad(x, (extra, 0))
        side = 0 if self.causal else (extra + 1) // 2
        return F.conv1d(x, weight, self.bias, self.stride, side, self.dilation)

    def extra_repr(self) -> str:
        return f"{tuple(self.kernels().shape)}, stride={self.stride}, dilation={self.dilation}"


class ResidualUnit(nn.Module):
    """x + conv1(snake(conv7(snake(x)))), the wide one dilated."""

    def __init__(self, channels: int, dilation: int, normed: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            NormedConv1d(channels, channels, KERNEL, dilation=dilation, normed=normed),
            Snake(channels),
            NormedConv1d(channels, channels, 1, normed=normed),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> same."""
        return x + self.block(x)


def residual_units(channels: int, normed: bool) -> list[nn.Module]:
    """The three units of a stage."""
    return [ResidualUnit(channels, dilation, normed) for dilation in DILATIONS]


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution: (B, C, N) -> (B, out, N / stride)."""

    def __init__(self, channels: int, out_channels: int, stride: int, normed: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *residual_units(channels, normed),
            Snake(channels),
            NormedConv1d(channels, out_channels, 2 * stride, stride, normed=normed),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, out, N / stride)."""
        return self.block(x)


class DecoderBlock(nn.Module):
    """A transposed convolution, then three residual units: (B, C, N) -> (B, out, N * stride)."""

    def __init__(self, channels: int, out_channels: int, stride: int, normed: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            NormedConv1d(channels, out_channels, 2 * stride, stride, transposed=True, normed=normed),
            *residual_units(out_channels, normed),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, out, N * stride)."""
        return self.block(x)


def mdct(size: int) -> Tensor:
    """The modified cosine transform of frames of 2 size samples each `size`, with a sine window: (size, 1, 2 size).

    As a convolution of stride `size` it takes a sound to `size` channels, and its transpose takes them back: where two
    frames overlap the sum is the sound itself, without loss.
    """
    time = torch.arange(2 * size, dtype=torch.float64)
    band = torch.arange(size, dtype=torch.float64)
    window = torch.sin(torch.pi / (2 * size) * (time + 0.5))
    angle = torch.pi / size * (band[:, None] + 0.5) * (time + 0.5 + size / 2)
    return ((2.0 / size) ** 0.5 * window * torch.cos(angle))[:, None].float()
