"""The layers of the image and the video autoencoder: one set of classes, with or without a time axis.

Clips are folded frame by frame into the batch, (B*T, C, H, W), channels last in memory. A module that mixes
frames is told how many belong to a clip; where no layer has a temporal part every frame is on its own, and
the result is the image autoencoder. Names of submodules are those of diffusers' AutoencoderKL, and what time
adds hangs under `temporal`, so that an image checkpoint fits a video network as it is.

Letters: B batch, T frames, H W rows and columns, C channels; F = B*T folded frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.nn import attention

NORM_EPS = 1e-6  # Stable Diffusion 3


class TemporalConv(nn.Module):
    """1-D convolution of kernel 3 along time, symmetric replicate padding, optionally of stride 2.

    It starts as the identity: the centre tap passes each channel (at stride 2, every second frame).
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels, 3))
        self.bias = nn.Parameter(torch.empty(channels))

    def init_weights(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            self.weight[:, :, 1] = torch.eye(self.weight.shape[0])

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> (B*ceil(T/stride), C, H, W)."""
        folded, channels, height, width = x.shape
        # Channels last makes (B*T, H, W, C) the memory layout, so the clip is a (B, T, H*W, C) view and the
        # convolution a plain 2-D one of kernel (3, 1): no transposition is paid for.
        clip = x.permute(0, 2, 3, 1).reshape(folded // frames, frames, height * width, channels)
        padded = torch.cat([clip[:, :1], clip, clip[:, -1:]], dim=1).permute(0, 3, 1, 2)  # (B, C, T+2, HW)
        out = F.conv2d(padded, self.weight.unsqueeze(-1), self.bias, stride=(self.stride, 1))
        return out.permute(0, 2, 3, 1).reshape(-1, height, width, channels).permute(0, 3, 1, 2)


class Conv(nn.Conv2d):
    """2-D convolution over each frame, followed by a temporal one where `temporal` is set ("2.5-D")."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        temporal: bool = False,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__(in_channels, out_channels, kernel, stride, padding)
        self.temporal = TemporalConv(out_channels) if temporal else None

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """(F, C_in, H, W) -> (F, C_out, H/stride, W/stride)."""
        x = self._conv_forward(x, self.weight, self.bias)
        return x if self.temporal is None else self.temporal(x, frames)


class ResnetBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))), with a 1x1 shortcut where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, temporal: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=NORM_EPS)
        self.conv1 = Conv(in_channels, out_channels, temporal=temporal)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=NORM_EPS)
        self.conv2 = Conv(out_channels, out_channels, temporal=temporal)
        self.conv_shortcut = Conv(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C_in, H, W) -> (F, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)), frames)
        h = self.conv2(F.silu(self.norm2(h)), frames)
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class TemporalAttention(nn.Module):
    """Single-head attention along time at every place, added to its input; its output starts at zero."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=NORM_EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Linear(channels, channels)

    def init_weights(self) -> None:
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> the same shape."""
        folded, channels, height, width = x.shape
        h = self.group_norm(x).permute(0, 2, 3, 1).reshape(folded // frames, frames, height * width, channels)
        h = h.transpose(1, 2)  # (B, HW, T, C): places are the "heads" of the attention call
        h = attention(self.to_q(h), self.to_k(h), self.to_v(h))
        h = self.to_out(h).transpose(1, 2).reshape(folded, height, width, channels)
        return x + h.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Single-head attention over the places of each frame, then, where `temporal` is set, along time."""

    def __init__(self, channels: int, groups: int, temporal: bool) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=NORM_EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.temporal = TemporalAttention(channels, groups) if temporal else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C, H, W) -> the same shape."""
        folded, channels, height, width = x.shape
        h = self.group_norm(x).permute(0, 2, 3, 1).reshape(folded, 1, height * width, channels)
        h = attention(self.to_q(h), self.to_k(h), self.to_v(h))
        x = x + self.to_out[0](h).reshape(folded, height, width, channels).permute(0, 3, 1, 2)
        return x if self.temporal is None else self.temporal(x, frames)


class MidBlock(nn.Module):
    """Residual block, attention (where the settings have it), residual block at the coarsest level."""

    def __init__(self, channels: int, groups: int, attend: bool, temporal: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, groups, temporal)] if attend else [])
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, groups, temporal) for _ in range(2)])

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C, H, W) -> the same shape."""
        x = self.resnets[0](x, frames)
        for layer in self.attentions:
            x = layer(x, frames)
        return self.resnets[1](x, frames)


class Downsample(nn.Module):
    """Half of the rows and columns by a strided convolution padded below and to the right."""

    def __init__(self, in_channels: int, out_channels: int, temporal: bool) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, stride=2, padding=0, temporal=temporal)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C_in, H, W) -> (F, C_out, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)), frames)


class Upsample(nn.Module):
    """Twice the rows and columns: nearest neighbour, then a convolution."""

    def __init__(self, in_channels: int, out_channels: int, temporal: bool) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, temporal=temporal)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C_in, H, W) -> (F, C_out, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"), frames)


class ShuffleDownsample(nn.Module):
    """Half of the rows and columns by space-to-depth and a 1x1 convolution: a small fraction of the cost."""

    def __init__(self, in_channels: int, out_channels: int, temporal: bool) -> None:
        super().__init__()
        self.conv = Conv(4 * in_channels, out_channels, 1, temporal=temporal)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C_in, H, W) -> (F, C_out, H/2, W/2)."""
        return self.conv(space_to_depth(x, 2), frames)


class ShuffleUpsample(nn.Module):
    """Twice the rows and columns by a 1x1 convolution and depth-to-space: a small fraction of the cost."""

    def __init__(self, in_channels: int, out_channels: int, temporal: bool) -> None:
        super().__init__()
        self.conv = Conv(in_channels, 4 * out_channels, 1)
        self.temporal = TemporalConv(out_channels) if temporal else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(F, C_in, H, W) -> (F, C_out, 2H, 2W)."""
        x = depth_to_space(self.conv(x), 2)
        return x if self.temporal is None else self.temporal(x, frames)


class TemporalUpsample(nn.Module):
    """Twice the frames: nearest neighbour in time, then a temporal convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = TemporalConv(channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> (B*2T, C, H, W); each frame twice in a row."""
        return self.conv(x.repeat_interleave(2, dim=0), 2 * frames)


def space_to_depth(x: Tensor, patch: int) -> Tensor:
    """(F, C, H*p, W*p) -> (F, C*p*p, H, W), channels last in memory; the channel varies fastest."""
    if patch == 1:
        return x
    f, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(f, h // patch, patch, w // patch, patch, c).transpose(2, 3)
    return x.reshape(f, h // patch, w // patch, patch * patch * c).permute(0, 3, 1, 2)


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """The inverse of `space_to_depth`: (F, C*p*p, H, W) -> (F, C, H*p, W*p)."""
    if patch == 1:
        return x
    f, c, h, w = x.shape
    c = c // (patch * patch)
    x = x.permute(0, 2, 3, 1).reshape(f, h, w, patch, patch, c).transpose(2, 3)
    return x.reshape(f, h * patch, w * patch, c).permute(0, 3, 1, 2)


def fold(clip: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B*T, C, H, W), channels last in memory."""
    return clip.permute(0, 2, 3, 4, 1).flatten(0, 1).contiguous().permute(0, 3, 1, 2)


def unfold(x: Tensor, frames: int) -> Tensor:
    """(B*T, C, H, W) -> (B, C, T, H, W)."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2)


def init_weights(module: nn.Module) -> None:
    """Initialise every layer below `module`: PyTorch's own rules, then what starts as identity or as zero."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.GroupNorm)):
            layer.reset_parameters()
    for layer in module.modules():
        if isinstance(layer, (TemporalConv, TemporalAttention)):
            layer.init_weights()
