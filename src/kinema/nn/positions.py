"""Where a token is: learnable factorised tables, fixed sines and cosines, and rotary angles.

Tokens of a grid are always row-major: the last axis runs fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rotary = tuple[Tensor, Tensor]  # cosines and sines, each (N, head_dim / 2), float32


def grow_table(table: Tensor, length: int) -> Tensor:
    """Resample a position table (n, D) to (length, D), linearly; the first and last rows stay."""
    if len(table) == length:
        return table.clone()
    columns = table.float().T[None]  # (1, D, n)
    grown = F.interpolate(columns, size=length, mode="linear", align_corners=True)[0].T
    return grown.to(table.dtype).contiguous()


class FactorizedPositions(nn.Module):
    """Learnable positions that add up over the axes: PE(t, h, w) = time[t] + height[h] + width[w].

    Args:
        dim: width D of a token.
        grid: the largest (T, H, W) in tokens.
    """

    def __init__(self, dim: int, grid: tuple[int, int, int]) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.empty(grid[0], dim))
        self.height = nn.Parameter(torch.empty(grid[1], dim))
        self.width = nn.Parameter(torch.empty(grid[2], dim))
        if not self.time.is_meta:
            self.init_weights()

    @property
    def grid(self) -> tuple[int, int, int]:
        return len(self.time), len(self.height), len(self.width)

    def init_weights(self, std: float = 0.02) -> None:
        for table in (self.time, self.height, self.width):
            nn.init.normal_(table, std=std)

    def forward(self, grid: tuple[int, int, int]) -> Tensor:
        """The positions of the first `grid` = (T, H, W) tokens of each axis: (T*H*W, D)."""
        if any(size > limit for size, limit in zip(grid, self.grid, strict=True)):
            raise ValueError(
                f"positions reach to a grid of {self.grid} tokens and {tuple(grid)} came: grow the tables"
            )
        time, height, width = self.time[: grid[0]], self.height[: grid[1]], self.width[: grid[2]]
        return (time[:, None, None] + height[:, None] + width).flatten(0, 2)

    @torch.no_grad()
    def grown(self, grid: tuple[int, int, int]) -> FactorizedPositions:
        """New tables for another largest grid, interpolated linearly from these."""
        with torch.device(self.time.device):
            new = FactorizedPositions(self.time.shape[1], grid).to(self.time.dtype)
        for ours, old in zip(new.parameters(), self.parameters(), strict=True):
            ours.copy_(grow_table(old, len(ours)))
        return new


def sincos_1d(positions: Tensor, dim: int, theta: float = 10000.0) -> Tensor:
    """Sines then cosines of positions (N,) -> (N, dim), computed in float64 and returned as float32."""
    if dim % 2:
        raise ValueError(f"sine and cosine positions need an even width, got dim={dim}")
    frequencies = theta ** (
        -torch.arange(dim // 2, dtype=torch.float64, device=positions.device) / (dim // 2)
    )
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def sincos_2d(grid: tuple[int, int], dim: int, theta: float = 10000.0) -> Tensor:
    """(H*W, dim): the first half of the width tells the column, the second the row, as in MAE and DiT."""
    if dim % 4:
        raise ValueError(f"2-D sine and cosine positions need a width that 4 divides, got dim={dim}")
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.cat(
        [sincos_1d(columns.flatten(), dim // 2, theta), sincos_1d(rows.flatten(), dim // 2, theta)], dim=1
    )


def sincos_3d(grid: tuple[int, int, int], dim: int, theta: float = 10000.0) -> Tensor:
    """(T*H*W, dim): a quarter of the width tells the time, the rest is `sincos_2d` of the frame."""
    if dim % 16:
        raise ValueError(f"3-D sine and cosine positions need a width that 16 divides, got dim={dim}")
    time = sincos_1d(torch.arange(grid[0]), dim // 4, theta)
    space = sincos_2d(grid[1:], dim - dim // 4, theta)
    return torch.cat([time.repeat_interleave(len(space), 0), space.repeat(grid[0], 1)], dim=1)


def rotary(
    grid: int | Sequence[int], head_dim: int, theta: float = 10000.0, offset: Sequence[int] = ()
) -> Rotary:
    """Rotary tables of a line, a frame or a clip: cosines and sines, each (N, head_dim/2), float32.

    Args:
        grid: tokens along each axis: n, (H, W) or (T, H, W).
        head_dim: even; the axes share it: with n axes each but the first takes 2*(head_dim // 2n), the
            first the rest (for three axes this is Wan's split).
        offset: index of the first token along each axis, zeros if left out.
    """
    sizes = (grid,) if isinstance(grid, int) else tuple(grid)
    if head_dim % 2 or head_dim < 2 * len(sizes):
        raise ValueError(
            f"rotary positions over {len(sizes)} axes need an even head width of {2 * len(sizes)} or more, "
            f"got {head_dim}"
        )
    starts = tuple(offset) or (0,) * len(sizes)
    share = 2 * (head_dim // (2 * len(sizes)))
    widths = (head_dim - share * (len(sizes) - 1), *[share] * (len(sizes) - 1))
    axes = [
        torch.arange(size, dtype=torch.float64) + start for size, start in zip(sizes, starts, strict=True)
    ]
    coordinates = torch.meshgrid(*axes, indexing="ij")
    angles = []
    for coordinate, width in zip(coordinates, widths, strict=True):
        frequencies = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles.append(coordinate.flatten()[:, None] * frequencies)
    table = torch.cat(angles, dim=1)
    return table.cos().float(), table.sin().float()


def apply_rotary(x: Tensor, table: Rotary, layout: Literal["pairs", "halves"] = "pairs") -> Tensor:
    """Turn queries or keys (B, H, N, head_dim) by their rotary angles; computed in float32.

    `layout` says which two channels form a plane: neighbours ("pairs": LLaMa's own code, Wan, Flux) or i and
    i + head_dim/2 ("halves": transformers).
    """
    compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    cos, sin = (part.to(device=x.device, dtype=compute.dtype) for part in table)
    if layout == "pairs":
        first, second = compute.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2)
    else:
        first, second = compute.chunk(2, dim=-1)
        turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.to(x.dtype)


def turn_pairs(x: Tensor, table: Rotary) -> Tensor:
    """`apply_rotary` of neighbouring channels as one product of complex numbers: the same values in fewer passes.

    A compiler that generates code gets `apply_rotary` instead: it has none for complex numbers.
    """
    if torch.compiler.is_compiling() or x.device.type not in ("cpu", "cuda"):
        return apply_rotary(x, table)
    compute = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    factors = torch.complex(*(part.to(device=x.device, dtype=compute.dtype) for part in table))  # (N, d/2)
    pairs = torch.view_as_complex(compute.unflatten(-1, (-1, 2)))  # (B, H, N, d/2)
    return torch.view_as_real(pairs * factors).flatten(-2).to(x.dtype)


def timestep_sinusoid(t: Tensor, dim: int, scale: float = 1000.0, max_period: float = 10000.0) -> Tensor:
    """Cosines then sines of scale*t for flow times t (B,) in [0, 1] -> (B, dim), float32 (DiT's order)."""
    half = dim // 2
    frequencies = torch.exp(
        -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    )
    angles = (scale * t.float())[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
