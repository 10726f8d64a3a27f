"""The texture: every chart in a place of its own, with a margin that filtering and JPEG may look into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.errors import UserError
from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.layered import LayeredImage
from kinema.systems.photo_3d.packing import pack

BLOCK = 16  # what JPEG with halved chroma encodes together
PADDING = 4  # texels around a chart
LARGEST = 4096  # of either side, before the texture is made smaller


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Where the charts lie, and their colours: pixel p of chart c is at texel (x[p], y[p]) + offset[c].

    offset: (C, 2) int32. owner: (H, W) int32, the pixel of a texel, -1 where it belongs to none.
    texels: (H, W, 3) uint8.
    """

    offset: Array
    owner: Array
    texels: Array


def lay_out(image: LayeredImage, chart: Array, side: int = LARGEST) -> tuple[Array, tuple[int, int]]:
    """Offsets (C, 2) of the charts and the size (width, height) of the texture, a multiple of the block.

    Nothing is longer than `side` where all fits so. Raises UserError where it would be more than 4096.
    """
    low, high = _bounds(image.x, image.y, chart, int(chart.max()) + 1)
    low[0], high[0] = 0, (image.width, image.height)
    margin = np.full(len(low), 2 * PADDING)
    margin[0] = PADDING  # the photo lies in the corner, where the texture ends
    blocks = -(-(high - low + margin[:, None]) // BLOCK)
    widths, heights = blocks.T.astype(np.int64)
    packed = pack(widths, heights, side // BLOCK) or pack(widths, heights, LARGEST // BLOCK)
    if packed is None:
        raise UserError(
            f"the texture of a photo of {image.width}x{image.height} pixels does not fit into {LARGEST}x{LARGEST}: "
            "make the photo smaller"
        )
    corners, size = packed
    offset = corners * BLOCK + PADDING - low
    offset[0] = 0
    return offset.astype(np.int32), (size[0] * BLOCK, size[1] * BLOCK)


def paint(image: LayeredImage, chart: Array, side: int = LARGEST) -> Atlas:
    """Lay out the charts, copy their colours and fill their margins; side: as in `lay_out`."""
    offset, (width, height) = lay_out(image, chart, side)
    owner = np.full((height, width), -1, np.int32)
    colour = np.rint(np.clip(image.colour, 0, 1) * 255).astype(np.uint8)
    source = np.full((height, width), -1, np.int32)
    region = np.full((height // BLOCK, width // BLOCK), -1, np.int32)
    photo = (-(-(image.width + PADDING) // BLOCK), -(-(image.height + PADDING) // BLOCK))
    region[: photo[1], : photo[0]] = 0
    _copy(image.x, image.y, image.neighbours, chart, offset, owner, source, region)
    _dilate(source, region)
    texels = np.full((height, width, 3), 128, np.uint8)
    _colour(source, colour, texels)
    return Atlas(offset=offset, owner=owner, texels=texels)


@compiled
def _bounds(x: Array, y: Array, chart: Array, count: int) -> tuple[Array, Array]:
    low = np.full((count, 2), 1 << 30, np.int64)
    high = np.full((count, 2), -1, np.int64)
    for p in range(x.shape[0]):
        c = chart[p]
        if c < 0:
            continue
        low[c, 0], low[c, 1] = min(low[c, 0], x[p]), min(low[c, 1], y[p])
        high[c, 0], high[c, 1] = max(high[c, 0], x[p] + 1), max(high[c, 1], y[p] + 1)
    return low, high


@compiled
def _copy(
    x: Array,
    y: Array,
    neighbours: Array,
    chart: Array,
    offset: Array,
    owner: Array,
    source: Array,
    region: Array,
) -> None:
    """Put every pixel at its texel; over the borders of charts, the pixels that really come next."""
    height, width = owner.shape
    total = x.shape[0]
    for p in range(total):
        c = chart[p]
        if c < 0:
            continue
        u, v = x[p] + offset[c, 0], y[p] + offset[c, 1]
        owner[v, u] = source[v, u] = p
        if c > 0:
            for dv in range(-PADDING, PADDING + 1, PADDING):
                for du in range(-PADDING, PADDING + 1, PADDING):
                    region[(v + dv) // BLOCK, (u + du) // BLOCK] = c
    # Ring after ring over links, so that corners hold what is really there, too.
    queue, into = np.empty(source.size, np.int32), np.empty(source.size, np.int32)
    begin = end = 0
    for ring in range(PADDING):
        last = end
        for turn in range(total if ring == 0 else last - begin):
            p = turn if ring == 0 else queue[begin + turn]
            c = chart[p] if ring == 0 else into[begin + turn]
            if c < 0:
                continue
            for side in range(4):
                n = neighbours[p, side]
                if n < 0 or chart[n] == c:
                    continue
                u, v = x[n] + offset[c, 0], y[n] + offset[c, 1]
                if u < 0 or v < 0 or u >= width or v >= height or source[v, u] >= 0:
                    continue
                if region[v // BLOCK, u // BLOCK] == c:
                    source[v, u] = queue[end] = n
                    into[end] = c
                    end += 1
        begin = last


@compiled
def _dilate(source: Array, region: Array) -> None:
    """Fill the empty texels of every region from the nearest filled one: two sweeps of city-block distance."""
    height, width = source.shape
    far = np.int32(1 << 20)
    reach = np.full((height, width), far, np.int32)
    for sweep in range(2):
        step = 1 if sweep == 0 else -1
        for row in range(height):
            v = row if sweep == 0 else height - 1 - row
            for column in range(width):
                u = column if sweep == 0 else width - 1 - column
                if reach[v, u] == 0 or (sweep == 0 and source[v, u] >= 0):
                    reach[v, u] = 0
                    continue
                own = region[v // BLOCK, u // BLOCK]
                if own < 0:
                    continue
                a, b = u - step, v - step
                if 0 <= a < width and reach[v, a] + 1 < reach[v, u] and region[v // BLOCK, a // BLOCK] == own:
                    reach[v, u], source[v, u] = reach[v, a] + 1, source[v, a]
                if (
                    0 <= b < height
                    and reach[b, u] + 1 < reach[v, u]
                    and region[b // BLOCK, u // BLOCK] == own
                ):
                    reach[v, u], source[v, u] = reach[b, u] + 1, source[b, u]


@compiled
def _colour(source: Array, colour: Array, texels: Array) -> None:
    for v in range(source.shape[0]):
        for u in range(source.shape[1]):
            p = source[v, u]
            if p >= 0:
                for channel in range(3):
                    texels[v, u, channel] = colour[p, channel]
