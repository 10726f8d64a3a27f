"""Rectangles into one larger one: a skyline packer on the grid of JPEG blocks."""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.compiled import compiled


def pack(widths: Array, heights: Array, most: int) -> tuple[Array, tuple[int, int]] | None:
    """Corners (N, 2) as (x, y) and the size (width, height) of the smallest rectangle found, in the same unit.

    The first rectangle lies at (0, 0), the others go where they reach least far down, the tall ones first. None where
    they do not fit into a square of side `most`.
    """
    first = int(widths[0])
    if first > most or heights[0] > most or widths.max() > most:
        return None
    order = np.concatenate([[0], 1 + np.lexsort((-widths[1:], -heights[1:]))]).astype(np.int64)
    narrowest = max(first, int(widths.max()))
    best = None
    for width in range(narrowest, most + 1, max(1, (most - narrowest) // 16)):
        corners, height = _place(widths, heights, order, width)
        if height <= most and (best is None or (width * height, abs(width - height)) < best[0]):
            best = (width * height, abs(width - height)), corners, (width, int(height))
    return None if best is None else best[1:]


@compiled
def _place(widths: Array, heights: Array, order: Array, width: int) -> tuple[Array, int]:
    skyline = np.zeros(width, np.int64)
    corners = np.zeros((len(widths), 2), np.int64)
    for index in order:
        w, h = widths[index], heights[index]
        best, where = 1 << 40, 0
        for x in range(width - w + 1):
            top = skyline[x]
            for column in range(x + 1, x + w):
                top = max(top, skyline[column])
                if top >= best:
                    break
            if top < best:
                best, where = top, x
        corners[index, 0], corners[index, 1] = where, best
        skyline[where : where + w] = best + h
    return corners, skyline.max()
