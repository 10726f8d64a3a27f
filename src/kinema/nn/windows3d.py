"""Windows of a grid in time and space: which tokens see each other, and by what offset, as tables of indices.

A grid is cut into windows of (time, rows, columns), its far ends filled up to whole windows. With a shift the cut
moves towards the origin and the grid is taken as a ring; where the two ends of the ring meet in one window, their
tokens must not see each other. Everything here depends on sizes alone and is computed once for each of them.
"""

# T H W the grid, N = tokens of a window, L = T*H*W filled up to whole windows

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

Size = tuple[int, int, int]
SHUT = -100.0  # added to the score of a pair that must not meet; the published networks were trained with it


@dataclass(frozen=True, eq=False)
class Windows:
    """How tokens go into windows and back.

    order: (L) the token at each place of each window; windows that the ring is closed in come last, in groups.
    back: (T*H*W) the place of each token, those that filled up left out.
    groups: pairs of a count of windows and what is added to their scores, (N, N) or None; the counts add up to L / N.
    """

    padding: Size  # tokens to add at the end of each axis
    order: Tensor
    back: Tensor
    groups: tuple[tuple[int, Tensor | None], ...]


def clamped(grid: Sequence[int], window: Size, shift: Size) -> tuple[Size, Size]:
    """Window and shift for this grid: an axis that fits into the window is one window, and has no shift."""
    whole = [size <= step for size, step in zip(grid, window, strict=True)]
    fitted = [size if fits else step for size, step, fits in zip(grid, window, whole, strict=True)]
    moved = [0 if fits else step for step, fits in zip(shift, whole, strict=True)]
    return (fitted[0], fitted[1], fitted[2]), (moved[0], moved[1], moved[2])


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept here may be needed for gradients later
def windows_of(grid: Size, window: Size, shift: Size, device: torch.device) -> Windows:
    """The windows of a grid (T, H, W); window and shift as `clamped` gives them."""
    counts = [-(-size // step) for size, step in zip(grid, window, strict=True)]
    full = [count * step for count, step in zip(counts, window, strict=True)]
    tokens = torch.arange(math.prod(full), device="cpu").view(full)
    ring = tokens.roll([-step for step in shift], (0, 1, 2))
    cut = ring.unflatten(2, (counts[2], window[2])).unflatten(1, (counts[1], window[1]))
    cut = cut.unflatten(0, (counts[0], window[0])).permute(0, 2, 4, 1, 3, 5)  # (nt, nh, nw, wt, wh, ww)

    order, groups = [], []
    for closed in product(*[(False, True) if step else (False,) for step in shift]):
        part = cut
        for axis, (last, step) in enumerate(zip(closed, shift, strict=True)):
            if step:
                start, length = (counts[axis] - 1, 1) if last else (0, counts[axis] - 1)
                part = part.narrow(axis, start, length)
        number = math.prod(part.shape[:3])
        if number:
            order.append(part.flatten())
            groups.append((number, _mask(window, shift, closed, device)))
    placed = torch.cat(order)
    back = torch.empty_like(placed)
    back[placed] = torch.arange(len(placed), device="cpu")
    real = back.view(full)[: grid[0], : grid[1], : grid[2]].flatten()
    padding = [whole - size for whole, size in zip(full, grid, strict=True)]
    return Windows(
        padding=(padding[0], padding[1], padding[2]),
        order=placed.to(device),
        back=real.to(device),
        groups=tuple(groups),
    )


def _mask(window: Size, shift: Size, closed: Sequence[bool], device: torch.device) -> Tensor | None:
    """What is added to the scores of windows in which the ring closes along some axes: (N, N), None along no axis."""
    if not any(closed):
        return None
    sides = [
        torch.arange(size, device="cpu") >= (size - step if last else size)  # behind the seam
        for size, step, last in zip(window, shift, closed, strict=True)
    ]
    side = (
        4 * sides[0].long()[:, None, None] + 2 * sides[1].long()[:, None] + sides[2].long()
    ).flatten()  # (N)
    return ((side[:, None] != side) * SHUT).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def offset_index(window: Size, tokens: int, device: torch.device) -> Tensor:
    """Rows of the table of offsets for all pairs of a window's first `tokens` tokens: (tokens*tokens), int64.

    The table has (2t-1)(2h-1)(2w-1) rows, the query's place minus the key's counting up, columns fastest.

    A window that was clamped has fewer tokens, and the published networks then take the first rows and columns of the
    FULL window's index: right for a clamp in time alone, and the offsets of a wider window for one in rows or columns.
    They were trained so, and it is kept.
    """
    places = torch.cartesian_prod(*[torch.arange(size, device="cpu") for size in window])[
        :tokens
    ]  # (tokens, 3)
    apart = places[:, None] - places + torch.tensor(window, device="cpu") - 1  # (tokens, tokens, 3), from 0
    rows = (apart[..., 0] * (2 * window[1] - 1) + apart[..., 1]) * (2 * window[2] - 1) + apart[..., 2]
    return rows.flatten().to(device)
