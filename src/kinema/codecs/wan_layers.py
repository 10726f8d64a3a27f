"""The layers of Wan 2.1's video autoencoder: causal in time, with a memory of what came before.

Each layer takes the frames of one piece of a clip and a `Memory`; what it needs of the frames before, it finds
there, and leaves there what it will need of these. So a clip goes through in pieces of any length, with the
same result as whole, and never more than two frames back are kept. The names of submodules are those of the
published file.

Letters: B batch, T frames of this piece, H W rows and columns, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.nn import attention


@dataclass(eq=False)
class Memory:
    """The end of each layer's input in the pieces before, and whether there were any."""

    past: dict[nn.Module, Tensor] = field(default_factory=dict)
    started: bool = False


class CausalConv3d(nn.Conv3d):
    """3-D convolution that sees no later frame; before the clip there are zeros."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.reach = kernel[0] - 1

    def forward(self, x: Tensor, memory: Memory) -> Tensor:  # type: ignore[override]
        """(B, C_in, T, H, W) -> (B, C_out, T, H, W)."""
        if self.reach:
            past = memory.past.get(self)
            if past is None:
                past = x.new_zeros(*x.shape[:2], self.reach, *x.shape[3:])
            x = torch.cat([past, x], dim=2)
            memory.past[self] = x[:, :, -self.reach :].clone()  # a view would keep all of x
        return self._conv_forward(x, self.weight, self.bias)


class ChannelNorm(nn.Module):
    """Each position's channels divided by their root mean square, times a gain; statistics in float32."""

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(channels, *[1] * axes))

    def init_weights(self) -> None:
        nn.init.ones_(self.gamma)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        scale = x.shape[1] ** 0.5
        return F.normalize(x.float(), dim=1).to(x.dtype).mul(scale) * self.gamma


class ResidualBlock(nn.Module):
    """shortcut(x) + conv(swish(norm(conv(swish(norm(x))))))."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.ModuleDict(
            {
                "0": ChannelNorm(in_channels),
                "2": CausalConv3d(in_channels, out_channels),
                "3": ChannelNorm(out_channels),
                "6": CausalConv3d(out_channels, out_channels),
            }
        )
        wider = in_channels != out_channels
        self.shortcut = CausalConv3d(in_channels, out_channels, (1, 1, 1)) if wider else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, C_in, T, H, W) -> (B, C_out, T, H, W)."""
        layers = self.residual
        h = layers["2"](F.silu(layers["0"](x)), memory)
        h = layers["6"](F.silu(layers["3"](h)), memory)
        return h + (x if self.shortcut is None else self.shortcut(x, memory))


class FrameAttention(nn.Module):
    """Single-head attention over the places of each frame, added to its input; its output starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def init_weights(self) -> None:
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, C, T, H, W) -> the same shape; frames do not meet, so nothing is remembered."""
        channels, frames, height, width = x.shape[1:]
        h = self.to_qkv(self.norm(_fold(x))).flatten(2).transpose(1, 2)  # (B*T, H*W, 3C)
        q, k, v = h.unsqueeze(1).chunk(3, dim=-1)
        h = attention(q, k, v).squeeze(1).transpose(1, 2).reshape(-1, channels, height, width)
        return x + _unfold(self.proj(h), frames)


class HalveFrames(nn.Conv3d):
    """Every second frame from three, of stride 2; the clip's first frame passes as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:  # type: ignore[override]
        """(B, C, T, H, W) -> (B, C, 1 + (T-1)/2, H, W) of a clip's first piece, T/2 of a later one."""
        seen = torch.cat([memory.past[self], x], dim=2) if memory.started else x
        memory.past[self] = x[:, :, -1:].clone()
        out = [] if memory.started else [x[:, :, :1]]
        if seen.shape[2] > 1:
            out.append(self._conv_forward(seen, self.weight, self.bias))
        return torch.cat(out, dim=2)


class DoubleFrames(CausalConv3d):
    """Two frames from each by a causal convolution; the clip's first frame passes as it is, and unseen."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels, (3, 1, 1))

    def forward(self, x: Tensor, memory: Memory) -> Tensor:  # type: ignore[override]
        """(B, C, T, H, W) -> (B, C, 1 + 2*(T-1), H, W) of a clip's first piece, 2T of a later one."""
        first, rest = (x[:, :, :0], x) if memory.started else (x[:, :, :1], x[:, :, 1:])
        if not rest.shape[2]:
            return first
        pairs = super().forward(rest, memory).unflatten(1, (2, -1))  # (B, 2, C, T, H, W)
        doubled = pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)  # (B, C, 2T, H, W)
        return doubled if memory.started else torch.cat([first, doubled], dim=2)


class Downsample(nn.Module):
    """Half of the rows and columns by a strided convolution padded below and to the right, then of the frames."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2)})
        self.time_conv = HalveFrames(channels) if temporal else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H/2, W/2)."""
        frames = x.shape[2]
        x = _unfold(self.resample["1"](F.pad(_fold(x), (0, 1, 0, 1))), frames)
        return x if self.time_conv is None else self.time_conv(x, memory)


class Upsample(nn.Module):
    """Twice the frames, then twice the rows and columns (repeated, then a convolution to half the channels)."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels // 2, 3, padding=1)})
        self.time_conv = DoubleFrames(channels) if temporal else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, C, T, H, W) -> (B, C/2, T', 2H, 2W)."""
        if self.time_conv is not None:
            x = self.time_conv(x, memory)
        frames = x.shape[2]
        return _unfold(self.resample["1"](F.interpolate(_fold(x), scale_factor=2.0, mode="nearest")), frames)


def init_weights(module: nn.Module) -> None:
    """Initialise every layer below `module`: PyTorch's own rules, then gains of one and attention at zero."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            layer.reset_parameters()
    for layer in module.modules():
        if isinstance(layer, (ChannelNorm, FrameAttention)):
            layer.init_weights()


def _fold(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B*T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def _unfold(x: Tensor, frames: int) -> Tensor:
    """(B*T, C, H, W) -> (B, C, T, H, W)."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2)
