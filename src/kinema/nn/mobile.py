"""Inverted residual blocks of the FBNet family: a pointwise expansion, a depthwise convolution, a linear projection.

Every convolution and every addition has a slot for a quantiser, empty at first, so that a network can be trained with
rounding in the loop, or run with the ranges that its weights were trained for, without another copy of its code.
"""

# B batch, C channels, H W rows and columns

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class ConvNorm(nn.Module):
    """A convolution, then a batch norm and an activation where there are any: (B, C, H, W) -> (B, C', H/s, W/s).

    Args:
        kernel: odd; the input is padded by half of it, so that only the stride changes the size.
        norm: `batch` norm behind a convolution without bias, a `bias` alone (what folding leaves), or `none`.
        activation: a class of module such as `nn.ReLU`; None for a linear layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: Literal["batch", "bias", "none"] = "batch",
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd: an even one would shift the picture")
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=norm == "bias",
        )
        self.norm = nn.BatchNorm2d(out_channels) if norm == "batch" else None
        self.activation = None if activation is None else activation()
        self.weight_quantiser: nn.Module | None = None
        self.quantiser: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight_quantiser is None:
            x = self.conv(x)
        else:
            x = self.conv._conv_forward(x, self.weight_quantiser(self.conv.weight), self.conv.bias)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x if self.quantiser is None else self.quantiser(x)


class Add(nn.Module):
    """The sum of two equal shapes, in a module of its own so that its result can be quantised."""

    def __init__(self) -> None:
        super().__init__()
        self.quantiser: nn.Module | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = x + y
        return total if self.quantiser is None else self.quantiser(total)


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate that two pointwise layers read from their means: (B, C, H, W) -> the same shape.

    Args:
        squeezed: channels between the two layers.
        gate: the activation that ends in [0, 1]: `nn.Hardsigmoid` on phones, `nn.Sigmoid` in the first paper.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        activation: Activation = nn.ReLU,
        gate: Activation = nn.Hardsigmoid,
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.gate(self.expand(self.activation(self.reduce(mean))))


def hidden_width(in_channels: int, expansion: float, divisor: int = 1) -> int:
    """Channels behind the expansion, to the nearest multiple of `divisor`, and never less than one of it."""
    return max(divisor, int(in_channels * expansion / divisor + 0.5) * divisor)


class InvertedResidual(nn.Module):
    """Pointwise, depthwise, pointwise linear: (B, C, H, W) -> (B, C', H*u/s, W*u/s).

    In order: `pw` to the hidden width with norm and activation; nearest-neighbour upsampling; `dw` depthwise;
    squeeze-excite; `pwl` with norm and no activation; the input added where the block's rule allows it.

    Args:
        expansion: hidden width over that of the input. See `hidden` for a width that a search gave.
        hidden: channels of the depthwise convolution, in place of `expansion`.
        upsample: times by which rows and columns are repeated, between `pw` and `dw`; 1 for none.
        depthwise: `full` has norm and activation behind the depthwise convolution; `bare` has neither, nor a bias.
        always_pw: keep `pw` where it would expand by 1; without it such a block begins with its depthwise.
        residual: `same` adds the input where shape and channels allow it; `never` does not.
        squeeze_excite: channels of its bottleneck over the hidden ones; 0 for none.
        norm: as in `ConvNorm`.
        divisor: hidden widths are multiples of it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: float = 1.0,
        hidden: int | None = None,
        kernel: int = 3,
        stride: int = 1,
        upsample: int = 1,
        depthwise: Literal["full", "bare"] = "full",
        always_pw: bool = False,
        residual: Literal["same", "never"] = "same",
        squeeze_excite: float = 0.0,
        activation: Activation = nn.ReLU,
        norm: Literal["batch", "bias"] = "batch",
        divisor: int = 1,
    ) -> None:
        super().__init__()
        if stride > 1 and upsample > 1:
            raise ValueError(f"stride={stride} and upsample={upsample}: a block does one of the two")
        width = hidden_width(in_channels, expansion, divisor) if hidden is None else hidden
        self.pw = (
            ConvNorm(in_channels, width, norm=norm, activation=activation)
            if always_pw or width != in_channels
            else None
        )
        self.upsample = upsample
        self.dw = ConvNorm(
            width,
            width,
            kernel,
            stride=stride,
            groups=width,
            norm=norm if depthwise == "full" else "none",
            activation=activation if depthwise == "full" else None,
        )
        self.se = (
            SqueezeExcite(width, hidden_width(width, squeeze_excite), activation=activation)
            if squeeze_excite
            else None
        )
        self.pwl = ConvNorm(width, out_channels, norm=norm)
        same = stride == upsample == 1 and in_channels == out_channels
        self.add = Add() if residual == "same" and same else None

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.pw is None else self.pw(x)
        if self.upsample > 1:
            y = F.interpolate(y, scale_factor=float(self.upsample), mode="nearest")
        y = self.dw(y)
        if self.se is not None:
            y = self.se(y)
        y = self.pwl(y)
        return y if self.add is None else self.add(x, y)


@torch.no_grad()
def init_mobile(network: nn.Module) -> None:
    """Kaiming-normal by fan-out for convolutions, norms at one, and at zero where a residual begins as nothing.

    What is special to a network, such as the scale of its last layer, it sets after this.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.reset_parameters()
    for layer in network.modules():
        if isinstance(layer, InvertedResidual) and layer.add is not None and layer.pwl.norm is not None:
            nn.init.zeros_(layer.pwl.norm.weight)


@torch.no_grad()
def folded(network: AnyModule) -> AnyModule:
    """A copy whose batch norms are part of the convolutions before them; it computes what `network.eval()` does.

    The parameters are new ones, and train as any others do: the norm's statistics no longer follow the data.
    """
    network = copy.deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, ConvNorm) and layer.norm is not None:
            norm, conv = layer.norm, layer.conv
            assert norm.running_var is not None
            assert norm.running_mean is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (C',)
            conv.weight.mul_(scale[:, None, None, None])
            before = torch.zeros_like(scale) if conv.bias is None else conv.bias
            conv.bias = nn.Parameter(norm.bias + (before - norm.running_mean) * scale)
            layer.norm = None
    return network
