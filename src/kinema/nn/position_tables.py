"""Tables of positions that are added to the tokens of an image or a clip: learned or computed, and resized.

Two ways of resizing are published beside PyTorch's own: bicubic through the corners of the grid (SWAG), and bicubic
with smoothing where the grid shrinks (timm). They give different tables: weights keep to the way of their owner.
"""

# T H W tokens along time, rows and columns, N = T*H*W, P prefix tokens (the class token), D width

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.positions import sincos_1d, sincos_2d
from kinema.nn.stems import Grid

Kind = Literal["learned", "sincos", "line"]
Resize = Literal["corners", "antialias", "plain"]


def sinusoid_line(length: int, dim: int) -> Tensor:
    """(length, dim): sines at even and cosines at odd channels of p / 10000^(2*floor(j/2)/dim), as in VideoMAE."""
    halves = sincos_1d(torch.arange(length), dim).chunk(2, 1)
    return torch.stack(halves, 2).flatten(1)


def resize_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 0, method: Resize = "antialias"
) -> Tensor:
    """Bicubic from one grid of rows and columns to another: (P + H*W, D) -> (P + H'*W', D), in float32.

    Args:
        prefix: the first rows, which stay as they are.
        method: `corners` aligns the corners of both grids; `plain` and `antialias` align their borders, and
            `antialias` smooths as well where the new grid is smaller (it also takes another cubic, as Pillow does).
    """
    if old == new:
        return table
    if len(table) != prefix + math.prod(old):
        raise ValueError(f"{len(table)} positions are not {prefix} and a grid of {old[0]} x {old[1]}")
    squares = table[prefix:].float().T.unflatten(1, old)[None]  # (1, D, H, W)
    resized = F.interpolate(
        squares, new, mode="bicubic", align_corners=method == "corners", antialias=method == "antialias"
    )
    return torch.cat([table[:prefix], resized[0].flatten(1).T.to(table.dtype)])


class GridPositions(nn.Module):
    """A table for the tokens of a grid, in the order prefix, time, rows, columns.

    A shorter clip takes the first frames of the table, an image the first one; other rows and columns are resized. A
    longer clip is an error.

    Args:
        dim: width of a token.
        grid: what the table was made for.
        prefix: tokens before the grid that have a row of their own: 1 for a class token.
        kind: `learned` is a parameter; `sincos` (columns, then rows; for images) and `line` (the place in the
            flattened grid; for clips) are computed and stay in the file as a buffer. Prefix rows of `sincos` are 0.
        resize: see `resize_positions`.
    """

    table: Tensor

    def __init__(
        self, dim: int, grid: Grid, prefix: int = 0, kind: Kind = "learned", resize: Resize = "antialias"
    ) -> None:
        super().__init__()
        if kind == "sincos" and grid[0] != 1:
            raise ValueError(f"sincos positions are for images and the grid {grid} has time: use line")
        self.dim, self.grid, self.prefix, self.kind, self.resize = dim, grid, prefix, kind, resize
        empty = torch.empty(prefix + math.prod(grid), dim)
        if kind == "learned":
            self.table = nn.Parameter(empty)
        else:
            self.register_buffer("table", empty)
        if not self.table.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self, std: float = 0.02) -> None:
        if self.kind == "learned":
            nn.init.normal_(self.table, std=std)
        elif self.kind == "line":
            self.table.copy_(sinusoid_line(len(self.table), self.dim))
        else:
            self.table[: self.prefix] = 0.0
            self.table[self.prefix :] = sincos_2d(self.grid[1:], self.dim)

    def forward(self, grid: Grid) -> Tensor:
        """The rows of prefix and grid: (P + T*H*W, D). Raises ValueError for more frames than the table has."""
        if grid == self.grid:
            return self.table
        if grid[0] > self.grid[0]:
            raise ValueError(
                f"the clip has {grid[0]} tokens along time and the positions reach to {self.grid[0]}: shorten it"
            )
        prefix, cells = self.table[: self.prefix], self.table[self.prefix :].unflatten(0, self.grid)
        frames = [
            resize_positions(frame.flatten(0, 1), self.grid[1:], grid[1:], method=self.resize)
            for frame in cells[: grid[0]]
        ]
        return torch.cat([prefix, *frames])

    @torch.no_grad()
    def resized(self, grid: Grid) -> GridPositions:
        """A table of its own for another grid, resized from this one: what finetuning at another size begins with."""
        with torch.device(self.table.device):
            new = GridPositions(self.dim, grid, self.prefix, self.kind, self.resize)
        new.table.copy_(self(grid))
        return new
