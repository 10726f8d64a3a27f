"""Charts: which pixels of a layered image lie side by side in the texture.

Chart 0 keeps the photo's own layout and holds almost all of the photo. Taken out of it is a narrow rim on the far side
of every depth edge; it goes with the hidden surface that continues it behind the edge into charts of its own. So the
texture never holds a foreground beside its background, and nothing blends between them through filtering.
"""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.layered import LayeredImage

CAP = 256  # pixels, the longest side of a chart's bounding box
SPECK = 16  # pixels; hidden charts that are smaller are left out
RIM = 8  # pixels of the background next to a depth edge that leave the photo's layout


def make_charts(image: LayeredImage, rim: int = RIM, cap: int = CAP, speck: int = SPECK) -> Array:
    """The chart of every pixel: (K,) int32, 0 for the photo's layout, the others without gaps in their numbers.

    In a chart no two pixels share a place, and two pixels on neighbouring places are linked. Hidden charts of less than
    `speck` pixels, most of them at the far end of a hidden surface, are left out, -1: each would cost a block of
    texture and a few triangles that nobody sees.
    """
    taken = np.ones(len(image.x), np.bool_)
    count = image.height * image.width
    taken[:count] = _rim(image.neighbours, image.disparity, image.height, image.width, rim)
    chart = _grow(image.x, image.y, image.neighbours, taken, image.height, image.width, cap)
    size = np.bincount(chart)
    size[0] = size[chart[:count]] = speck  # what the photo shows is kept, however small
    renamed = np.cumsum(size >= speck, dtype=np.int32) - 1
    renamed[size < speck] = -1
    return renamed[chart]


@compiled
def _rim(neighbours: Array, disparity: Array, height: int, width: int, steps: int) -> Array:
    """(H*W,) bool: the photo's pixels within so many links of the far side of a depth edge."""
    count = height * width
    found = np.zeros(count, np.bool_)
    queue = np.empty(count, np.int32)
    end = 0
    for p in range(count):
        x, y = p % width, p // width
        for side in range(4):
            if side == 0:
                q = p - 1 if x > 0 else -1
            elif side == 1:
                q = p + 1 if x < width - 1 else -1
            elif side == 2:
                q = p - width
            else:
                q = p + width if y < height - 1 else -1
            if q < 0 or neighbours[p, side] == q:
                continue
            behind = disparity[p] < disparity[q] or (disparity[p] == disparity[q] and p > q)
            if behind and not found[p]:
                found[p] = True
                queue[end] = p
                end += 1
    begin = 0
    for _ in range(steps - 1):
        last = end
        while begin < last:
            p = queue[begin]
            begin += 1
            for side in range(4):
                n = neighbours[p, side]
                if 0 <= n < count and not found[n]:
                    found[n] = True
                    queue[end] = n
                    end += 1
    return found


@compiled
def _beside(neighbours: Array, p: int, other: int, first: int, second: int) -> bool:
    """Whether two steps over links, in either order, lead from p to `other`."""
    one, two = neighbours[p, first], neighbours[p, second]
    return (one >= 0 and neighbours[one, second] == other) or (two >= 0 and neighbours[two, first] == other)


@compiled
def _fits(x: Array, y: Array, neighbours: Array, chart: Array, place: Array, p: int, number: int) -> bool:
    """Whether pixel p finds its place in the chart free, and is linked to those of the chart around that place."""
    height, width = place.shape
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            row, column = y[p] + dy, x[p] + dx
            if row < 0 or column < 0 or row >= height or column >= width:
                continue
            other = place[row, column]
            if other < 0 or chart[other] != number:
                continue
            across, along = (0 if dx < 0 else 1), (2 if dy < 0 else 3)
            if dx == 0 and dy == 0:
                return False
            if dy == 0:
                linked = neighbours[p, across] == other
            elif dx == 0:
                linked = neighbours[p, along] == other
            else:
                linked = _beside(neighbours, p, other, across, along)
            if not linked:
                return False
    return True


@compiled
def _grow(x: Array, y: Array, neighbours: Array, taken: Array, height: int, width: int, cap: int) -> Array:
    """Seed charts in order of index among the pixels taken, and grow each breadth-first over links."""
    total = x.shape[0]
    chart = np.zeros(total, np.int32)
    chart[taken] = -1
    place = np.full((height, width), -1, np.int32)
    queue = np.empty(total, np.int32)
    number = 0
    for seed in range(total):
        if chart[seed] >= 0:
            continue
        number += 1
        chart[seed] = number
        place[y[seed], x[seed]] = seed
        left = right = x[seed]
        top = bottom = y[seed]
        queue[0] = seed
        begin, end = 0, 1
        while begin < end:
            p = queue[begin]
            begin += 1
            for side in range(4):
                n = neighbours[p, side]
                if n < 0 or chart[n] >= 0:
                    continue
                wide = max(right, x[n]) - min(left, x[n])
                high = max(bottom, y[n]) - min(top, y[n])
                if wide >= cap or high >= cap:
                    continue
                if not _fits(x, y, neighbours, chart, place, n, number):
                    continue
                chart[n] = number
                place[y[n], x[n]] = n
                left, right = min(left, x[n]), max(right, x[n])
                top, bottom = min(top, y[n]), max(bottom, y[n])
                queue[end] = n
                end += 1
    return chart
