"""Swin transformer with windows in time and space (Video Swin, 2106.13230; as Omnivore uses it, 2201.08377).

Even blocks attend within windows, odd ones within windows moved by half; between stages two by two tokens are merged,
in space and never in time. A still image is a grid of one frame: its window is clamped to one frame.
"""

# B batch, T H W grid of tokens, C width of a stage, N tokens of a window, M windows, h heads

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.attention import attention, merge_heads
from kinema.nn.drop_path import DropPath
from kinema.nn.mlp import GeluMLP
from kinema.nn.windows3d import Size, clamped, offset_index, windows_of

INIT_STD = 0.02


class PatchEmbed3d(nn.Module):
    """Patches of pixels into normalised tokens: (B, channels, T, H, W) -> (B, T/pt, H/ph, W/pw, dim).

    What a patch does not fill is zero: an image of one frame meets only the first slice in time of the kernel.
    """

    def __init__(self, channels: int, dim: int, patch: Size = (2, 4, 4)) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(channels, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        time, rows, columns = (-size % step for size, step in zip(x.shape[2:], self.patch, strict=True))
        if x.shape[2] == 1:  # the frames of zeros that would be added need no products
            x = F.pad(x[:, :, 0], (0, columns, 0, rows))
            x = F.conv2d(x, self.proj.weight[:, :, 0], self.proj.bias, self.patch[1:])[:, :, None]
        else:
            x = self.proj(F.pad(x, (0, columns, 0, rows, 0, time)))
        return self.norm(x.movedim(1, -1))


class WindowAttention3d(nn.Module):
    """Attention of a window's tokens to each other, with a learned bias for every offset."""

    def __init__(self, dim: int, num_heads: int, window: Size) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.offsets = nn.Parameter(torch.zeros(rows, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def bias(self, tokens: int) -> Tensor:
        """What the offsets add to the scores of the first `tokens` tokens of a window: (1, h, N, N)."""
        index = offset_index(self.window, tokens, self.offsets.device)
        return self.offsets.t().index_select(1, index).view(1, self.num_heads, tokens, tokens)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:  # (M, N, C), (1, h, N, N) -> (M, N, C)
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if q.device.type == "cpu" and bias.requires_grad:
            # PyTorch's fused kernel gives a mask no gradient there, and its fallback checks every row for emptiness
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias
            return self.out(merge_heads(scores.softmax(-1, torch.float32).to(v.dtype) @ v))
        return self.out(merge_heads(attention(q, k, v, bias)))


class SwinBlock3d(nn.Module):
    """Window attention, then a GELU network, each behind a norm and added to what went in: (B, T, H, W, C).

    shift: by how many tokens the windows move along each axis; all zero for an even block.
    """

    def __init__(
        self, dim: int, num_heads: int, window: Size, shift: Size, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = WindowAttention3d(dim, num_heads, window)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = GeluMLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self._attend(self.attention_norm(x)))
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))

    def _attend(self, x: Tensor) -> Tensor:
        batch, time, rows, columns, dim = x.shape
        window, shift = clamped((time, rows, columns), self.window, self.shift)
        cut = windows_of((time, rows, columns), window, shift, x.device)
        tokens = window[0] * window[1] * window[2]
        if any(cut.padding):
            x = F.pad(x, (0, 0, 0, cut.padding[2], 0, cut.padding[1], 0, cut.padding[0]))
        windows = x.flatten(1, 3).index_select(1, cut.order).unflatten(1, (-1, tokens))  # (B, M, N, C)
        bias = self.attention.bias(tokens)
        done, start = [], 0
        for number, mask in cut.groups:
            part = windows[:, start : start + number].flatten(0, 1)
            done.append(self.attention(part, bias if mask is None else bias + mask).unflatten(0, (batch, -1)))
            start += number
        y = torch.cat(done, 1) if len(done) > 1 else done[0]  # (B, M, N, C)
        return y.flatten(1, 2).index_select(1, cut.back).view(batch, time, rows, columns, dim)


class PatchMerging(nn.Module):
    """Two by two tokens of a frame become one of twice the width: (B, T, H, W, C) -> (B, T, H/2, W/2, 2C).

    An odd row or column gets a neighbour of zeros. Before the projection they lie in the order upper left, lower left,
    upper right, lower right.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2:4]
        if rows % 2 or columns % 2:
            x = F.pad(x, (0, 0, 0, columns % 2, 0, rows % 2))
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, T, H/2, 2, W/2, 2, C)
        return self.reduction(self.norm(x.permute(0, 1, 2, 4, 5, 3, 6).flatten(4)))


class SwinStage3d(nn.Module):
    """Blocks of one width, unmoved and moved windows in turn, then the merging where there is one."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: Size,
        mlp_ratio: float,
        drop_path: Sequence[float],
        merge: bool,
    ) -> None:
        super().__init__()
        half = (window[0] // 2, window[1] // 2, window[2] // 2)
        self.blocks = nn.ModuleList(
            SwinBlock3d(dim, num_heads, window, half if number % 2 else (0, 0, 0), mlp_ratio, rate)
            for number, rate in enumerate(drop_path)
        )
        self.merge = PatchMerging(dim) if merge else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.merge is None else self.merge(x)


class Swin3d(nn.Module):
    """Tokens of a grid to normalised tokens of a coarser one: (B, T, H, W, E) -> (B, T, H/8, W/8, 8E) for 4 stages.

    Args:
        dim: E, the width of the first stage; each further stage has twice that of the one before.
        depths, num_heads: blocks and heads of each stage.
        window: tokens of a window in time, rows and columns.
        drop_path: rate of stochastic depth in the last block; it grows evenly from zero in the first.
    """

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window: Size,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        blocks = sum(depths)
        rates = [drop_path * number / max(blocks - 1, 1) for number in range(blocks)]
        self.stages = nn.ModuleList()
        for number, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            width = dim * 2**number
            if width % heads:
                raise ValueError(f"{heads} heads do not divide the width {width} of stage {number}")
            last = number == len(depths) - 1
            self.stages.append(SwinStage3d(width, heads, window, mlp_ratio, rates[:depth], not last))
            rates = rates[depth:]
        self.dim = dim * 2 ** (len(depths) - 1)
        self.norm = nn.LayerNorm(self.dim)
        if not self.norm.weight.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Matrices and offsets N(0, 0.02^2) cut at two; biases 0, norms 1 and 0."""
        init_swin(self)

    def stage_outputs(self, x: Tensor) -> list[Tensor]:
        """What each stage gives, before the last norm: behind the merging for all but the last one."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)


@torch.no_grad()
def init_swin(network: nn.Module) -> None:
    """Start a Swin, its patch embeddings included: see `Swin3d.init_weights`; convolutions as PyTorch starts them."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=INIT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm | nn.Conv3d):
            layer.reset_parameters()
        elif isinstance(layer, WindowAttention3d):
            nn.init.trunc_normal_(layer.offsets, std=INIT_STD)
