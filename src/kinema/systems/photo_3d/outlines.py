"""The borders of charts as chains of pixel sides, each shared by the charts on its two sides.

A half-edge is one side of one pixel where its chart ends. Half-edges of a chart run clockwise as one sees the photo,
so that the chart is to the right, and follow each other in closed loops. A chain is a run of half-edges whose
neighbour stays the same all along; the neighbour's own half-edges form the same chain backwards. Where chains end, at
a corner of the lattice, there is a node: nodes are never moved, so that charts which share a chain share all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.layered import LayeredImage

FREE, FACING, LINKED = 0, 1, 2  # what lies across: nothing, another surface in the photo, the same surface


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """M half-edges in the order of their chains; chain c has those from start[c] to start[c + 1].

    pixel: (M,) int32. turn: (M,) int8, the pixel's side: 0 up, 1 right, 2 down, 3 left.
    twin: (M,) int32, the half-edge across, -1 where there is none. kind: (M,) int8, FREE, FACING or LINKED.
    start: (N + 1,) int32. following: (M,) int32, the next half-edge of the loop.
    middle, node: (M,) float32, disparity at a half-edge's middle and at its first corner, as its own side has it.
    """

    pixel: Array
    turn: Array
    twin: Array
    kind: Array
    start: Array
    following: Array
    middle: Array
    node: Array

    def corners(self, image: LayeredImage) -> Array:
        """Photo positions (M, 2) of the half-edges' first corners."""
        x, y = image.x[self.pixel], image.y[self.pixel]
        return np.stack([x + ((self.turn == 1) | (self.turn == 2)), y + (self.turn >= 2)], -1).astype(
            np.float64
        )

    def middles(self, image: LayeredImage) -> Array:
        """Photo positions (M, 2) of the half-edges' middles."""
        return self.corners(image) + _STEP[self.turn] / 2


_STEP = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def find_outlines(image: LayeredImage, chart: Array) -> Outlines:
    """All borders of all charts of a layered image."""
    number, pixel, turn = _half_edges(image.neighbours, chart)
    following, twin, kind = _relations(
        image.neighbours, chart, number, pixel, turn, image.height, image.width
    )
    x, y = image.x[pixel], image.y[pixel]
    order, start = _chains(following, twin, kind, turn, x, y, image.height, image.width)
    rank = np.empty(len(order) + 1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    rank[-1] = -1  # of the twin that is not there
    middle, node = _heights(image.neighbours, image.disparity, pixel[order], turn[order], kind[order])
    return Outlines(
        pixel=pixel[order],
        turn=turn[order],
        twin=rank[twin[order]],
        kind=kind[order],
        start=start,
        following=rank[following[order]],
        middle=middle,
        node=node,
    )


@compiled
def _side(turn: int) -> int:
    """The column of `neighbours` behind the side of this number, clockwise from the top."""
    return (2, 1, 3, 0)[turn % 4]


@compiled
def _half_edges(neighbours: Array, chart: Array) -> tuple[Array, Array, Array]:
    """Which half-edge a pixel's side is, (4 K,), -1 for none; and the pixel and side of each half-edge."""
    total = chart.shape[0]
    number = np.full(4 * total, -1, np.int32)
    count = 0
    for p in range(total):
        if chart[p] < 0:
            continue
        for turn in range(4):
            n = neighbours[p, _side(turn)]
            if n < 0 or chart[n] != chart[p]:
                number[4 * p + turn] = count
                count += 1
    pixel, turns = np.empty(count, np.int32), np.empty(count, np.int8)
    for place in range(4 * total):
        if number[place] >= 0:
            pixel[number[place]], turns[number[place]] = place // 4, place % 4
    return number, pixel, turns


@compiled
def _relations(
    neighbours: Array, chart: Array, number: Array, pixel: Array, turns: Array, height: int, width: int
) -> tuple[Array, Array, Array]:
    count = pixel.shape[0]
    following, twin = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    kind = np.zeros(count, np.int8)
    own = height * width
    for h in range(count):
        p, turn = pixel[h], turns[h]
        q, k = p, turn + 1
        while number[4 * q + k % 4] < 0:  # around the corner, as long as the chart goes on
            q = neighbours[q, _side(k)]
            k += 3
        following[h] = number[4 * q + k % 4]
        across = (turn + 2) % 4
        n = neighbours[p, _side(turn)]
        if n >= 0 and chart[n] >= 0:
            twin[h], kind[h] = number[4 * n + across], 2
        elif n < 0 and p < own:
            x, y = p % width + (turn == 1) - (turn == 3), p // width + (turn == 2) - (turn == 0)
            if 0 <= x < width and 0 <= y < height:
                q = y * width + x
                if neighbours[q, _side(across)] < 0:
                    twin[h], kind[h] = number[4 * q + across], 1
    return following, twin, kind


@compiled
def _chains(
    following: Array, twin: Array, kind: Array, turns: Array, x: Array, y: Array, height: int, width: int
) -> tuple[Array, Array]:
    """The half-edges in the order of their chains, and where each chain starts."""
    count = following.shape[0]
    first = np.zeros(count, np.bool_)  # starts a chain
    before = np.empty(count, np.int32)
    for h in range(count):
        before[following[h]] = h
    for h in range(count):
        f = following[h]
        if kind[h] != kind[f]:
            first[f] = True
        elif twin[h] >= 0:
            first[f] = following[twin[f]] != twin[h]
        elif turns[h] != turns[f]:  # a corner of the photo stays a corner
            column, row = x[f] + (turns[f] == 1 or turns[f] == 2), y[f] + (turns[f] >= 2)
            first[f] = column == 0 or row == 0 or column == width or row == height
    seen = np.zeros(count, np.bool_)
    for sweep in range(
        2
    ):  # chains between nodes; then the loops without a node, which get one, on both sides
        for h in range(count):
            if seen[h] or (sweep == 0 and not first[h]):
                continue
            if sweep == 1:
                first[h] = True
                if twin[h] >= 0:
                    first[twin[before[h]]] = True
            f = h
            while True:
                seen[f] = True
                f = following[f]
                if first[f]:
                    break
            if sweep == 1 and twin[h] >= 0:
                f = twin[h]
                while not seen[f]:
                    seen[f] = True
                    f = following[f]
    order, start = np.empty(count, np.int32), np.empty(count + 1, np.int32)
    end = chains = 0
    for h in range(count):
        if first[h]:
            start[chains] = end
            chains += 1
            f = h
            while True:
                order[end] = f
                end += 1
                f = following[f]
                if first[f]:
                    break
    start[chains] = end
    return order, start[: chains + 1].copy()


@compiled
def _heights(
    neighbours: Array, disparity: Array, pixel: Array, turns: Array, kind: Array
) -> tuple[Array, Array]:
    """Disparity at the middles and first corners of half-edges."""
    count = pixel.shape[0]
    middle, node = np.empty(count, np.float32), np.empty(count, np.float32)
    for h in range(count):
        p, turn = pixel[h], turns[h]
        middle[h] = disparity[p]
        if kind[h] == 2:
            middle[h] = 0.5 * (disparity[p] + disparity[neighbours[p, _side(turn)]])
        node[h] = _height(neighbours, disparity, p, turn)
    return middle, node


@compiled
def _height(neighbours: Array, disparity: Array, pixel: int, corner: int) -> float:
    """Disparity at a pixel's corner (0 upper left, then clockwise): the mean of all pixels linked around it.

    They are a ring or a row. Where a depth edge ends, a row winds around the corner more than once, from the front into
    what is hidden. Whoever of them asks, the sum runs over the same pixels in the same order: charts that share the
    corner must give it the same place to the last digit.
    """
    first, at, side = pixel, pixel, corner
    while True:  # against the clock to the row's end, or once around the ring to its lowest number
        n = neighbours[at, _side(side)]
        if n < 0:
            first = -1
            break
        at, side = n, (side + 3) % 4
        if at == pixel and side == corner % 4:
            break
        first = min(first, at)
    while first >= 0 and at != first:
        at, side = neighbours[at, _side(side)], (side + 3) % 4
    total, met, begin = np.float64(0), 0, side
    while True:
        total += disparity[at]
        met += 1
        at, side = neighbours[at, _side(side + 3)], (side + 1) % 4
        if at < 0 or (at == first and side == begin):
            return total / met
