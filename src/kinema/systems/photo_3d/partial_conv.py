"""Partial convolution, which looks at known pixels alone: on a picture, and on a layered image along its links.

On a picture it is that of Liu et al. (1804.07723): what is known in a window is weighed up to a whole window, and a
window with nothing known stays unknown; beyond the border nothing is known. On a layered image the window of a pixel is
what pointer walking reaches (2008.12298, section 4.3), so the same weights never look from a surface onto another.
"""

# B pictures, C channels, O output channels, k kernel, K pixels of a layered image, R of them asked for, G groups

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.layered import DOWN, LEFT, RIGHT, UP, walk

Masked = tuple[Tensor, Tensor]  # features, and where they are known: 1 or 0, one channel
CHUNK = 32768  # pixels whose windows are gathered at a time


class PartialConv(nn.Module):
    """A convolution over known values. Groups of channels, each with its own mask, may enter side by side."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd, so that a window has a middle")
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.init_weights()

    def init_weights(self) -> None:
        """He's normal weights, for the rectifiers that follow; no bias."""
        nn.init.kaiming_normal_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, parts: Sequence[Masked]) -> Masked:
        """On pictures: features (B, C, H, W) and masks (B, 1, H, W) in and out, smaller by the stride (rounded up)."""
        features = torch.cat([x * mask for x, mask in parts], 1)
        kernel, padding = self.kernel, self.kernel // 2
        ones = features.new_tensor([x.shape[1] for x, _ in parts]).view(1, -1, 1, 1)
        counted = ones.expand(1, -1, kernel, kernel)
        # Counted in full precision, whatever the values are in: half a precision cannot count to a whole window.
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            masks = torch.cat([mask for _, mask in parts], 1)
            known = F.conv2d(masks, counted, stride=self.stride, padding=padding)
        raw = F.conv2d(features, self.weight, stride=self.stride, padding=padding)
        return self._weighed(raw, known, self.bias.view(1, -1, 1, 1))

    def along_links(self, parts: Sequence[Masked], table: Tensor) -> Masked:
        """On a layered image: features (K, C) and masks (K,) in, and a table of windows (R, k*k) int32 from `windows`.

        Returns features (R, O) and masks (R,).
        """
        # Written side by side at once, not joined afterwards. The last row, of zeros, is what no link reaches.
        count = len(parts[0][1])
        features = parts[0][0].new_empty(count + 1, sum(x.shape[1] for x, _ in parts))
        counted = features.new_zeros(count + 1)  # known channels
        features[-1] = 0
        begin = 0
        for x, mask in parts:
            torch.mul(x, mask[:, None], out=features[:-1, begin : begin + x.shape[1]])
            counted[:-1].add_(mask, alpha=x.shape[1])
            begin += x.shape[1]
        weight = self.weight.permute(2, 3, 1, 0).reshape(-1, self.weight.shape[0])  # (k*k*C, O)
        raw = features.new_empty(len(table), weight.shape[1])
        for begin in range(0, len(table), CHUNK):
            rows = table[begin : begin + CHUNK]
            gathered = features.index_select(0, rows.reshape(-1)).view(len(rows), -1)
            raw[begin : begin + CHUNK] = gathered @ weight
        known = counted.index_select(0, table.reshape(-1)).view(table.shape).sum(1)
        raw, seen = self._weighed(raw, known[:, None], self.bias)
        return raw, seen[:, 0]

    def _weighed(self, raw: Tensor, known: Tensor, bias: Tensor) -> Masked:
        whole = self.weight[0].numel()
        seen = (known > 0).to(raw.dtype)
        return (raw * (whole / known.clamp(min=1.0)) + bias) * seen, seen


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """A layered image at one scale, without its values, and how it hangs together with the next coarser one."""

    links: np.ndarray  # (K, 4) int32
    kept: np.ndarray  # int64, the pixels that make the next level
    parent: np.ndarray  # (K,) int64, each pixel's pixel of the next level; their number where it has none

    def __len__(self) -> int:
        return len(self.links)


def pyramid(x: np.ndarray, y: np.ndarray, links: np.ndarray, count: int) -> list[Level]:
    """The image's levels, `count` of them beside the last, which only has links."""
    levels: list[Level] = []
    for _ in range(count):
        level, x, y = _halved(x, y, links)
        links = _links_by_twos(links, level.kept)
        levels.append(level)
    nothing = np.zeros(0, np.int64)
    return [*levels, Level(links=links, kept=nothing, parent=nothing)]


def _halved(x: np.ndarray, y: np.ndarray, links: np.ndarray) -> tuple[Level, np.ndarray, np.ndarray]:
    """Keep pixels of even row and column, whatever their layer; the others find a kept one within a step each way."""
    kept = np.flatnonzero((x % 2 == 0) & (y % 2 == 0))
    new = np.full(len(links) + 1, len(kept), np.int64)
    new[kept] = np.arange(len(kept))
    parent = new[:-1].copy()
    # Left and up come first, as nearest-neighbour enlargement of a picture does it.
    for across, along in ((LEFT, UP), (RIGHT, UP), (LEFT, DOWN), (RIGHT, DOWN)):
        for first, second in ((across, along), (along, across)):
            orphans = np.flatnonzero(parent == len(kept))
            odd = {across: x[orphans] % 2 == 1, along: y[orphans] % 2 == 1}
            at = np.where(odd[first], walk(links, orphans, first), orphans)
            at = np.where(odd[second], walk(links, at, second), at)
            parent[orphans] = new[at]
    return Level(links=links, kept=kept, parent=parent), x[kept] // 2, y[kept] // 2


def _links_by_twos(links: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Links among kept pixels: two steps in a direction, where both are there."""
    new = np.full(len(links) + 1, -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    return np.stack([new[walk(links, kept, direction, 2)] for direction in range(4)], 1)


def windows(links: np.ndarray, rows: np.ndarray, kernel: int) -> np.ndarray:
    """What each of the pixels `rows` reaches in a k x k window, (R, k*k) int32 row by row; K where nothing.

    A place is reached by walking first horizontally, then vertically; where that fails, the other way round.
    """
    table = np.full((len(rows), kernel, kernel), len(links), np.int32)
    _walk_windows(links, rows, table)
    return table.reshape(len(rows), -1)


@compiled
def _walk_windows(links: np.ndarray, rows: np.ndarray, table: np.ndarray) -> None:
    nothing, kernel = links.shape[0], table.shape[1]
    radius = kernel // 2
    for row in range(len(rows)):
        window = table[row]
        for order in range(2):  # across, then along; then the other way round, for what that did not reach
            for sideways in (LEFT, RIGHT) if order == 0 else (UP, DOWN):
                step = 1 if sideways in (RIGHT, DOWN) else -1
                at, first = rows[row], radius
                while at >= 0:
                    for forth in (UP, DOWN) if order == 0 else (LEFT, RIGHT):
                        further = 1 if forth in (RIGHT, DOWN) else -1
                        reached, second = at, radius
                        while reached >= 0:
                            v, u = (second, first) if order == 0 else (first, second)
                            if window[v, u] == nothing:
                                window[v, u] = reached
                            second += further
                            if second < 0 or second == kernel:
                                break
                            reached = links[reached, forth]
                    first += step
                    if first < 0 or first == kernel:
                        break
                    at = links[at, sideways]
