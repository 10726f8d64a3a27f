"""Fewer points on the outlines of charts: Douglas-Peucker on each chain once, for both charts that share it.

A chain runs from node to node through the middles of its half-edges, which turns a staircase of pixels into the line
that it stands for. A point may be left out where the chord is near enough in the photo and in depth, and where the
texture, which is laid on flat triangles, does not shift along the chord: a chord of length L between depths z and z'
shows its texture up to L |z - z'| / 2 (z + z') beside where the photo has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.systems.photo_3d.atlas import PADDING
from kinema.systems.photo_3d.camera import Array, Camera
from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.layered import LayeredImage
from kinema.systems.photo_3d.outlines import Outlines

MARGIN = PADDING - 1.0


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far the mesh may be from the pixels, in pixels of the photo.

    edge: chains at depth edges and at the end of a surface, where the eye sees a change. cut: chains in the middle of a
    surface, which nobody sees; the charts' margins have to cover it. parallax: by depth, at the farthest that the
    viewer moves. shift: of the texture, before it is straightened. hidden: as edge, where one ends behind another.
    longest: of a side of a triangle at an outline.
    """

    edge: float = 0.3
    cut: float = 2.0
    parallax: float = 1.0
    shift: float = 0.5
    hidden: float = 1.5
    longest: float = 64.0

    def times(self, factor: float) -> Tolerance:
        """Coarser by this factor, but never so that a chart leaves its margin."""
        return Tolerance(
            edge=min(self.edge * factor, MARGIN),
            cut=self.cut,
            parallax=self.parallax * factor,
            shift=self.shift * factor,
            hidden=min(self.hidden * factor, MARGIN),
            longest=self.longest * factor,
        )


def simplify(
    image: LayeredImage, outlines: Outlines, camera: Camera, reach: float, tolerance: Tolerance
) -> Array:
    """Which half-edges keep the point at their middle: (M,) bool. Nodes always stay.

    reach: pixels by which a change of one in disparity moves a point when the viewer has moved as far as he may.
    """
    keep = np.zeros(len(outlines.pixel), np.bool_)
    _simplify(
        outlines.corners(image),
        outlines.middles(image),
        outlines.following,
        outlines.twin,
        outlines.kind,
        outlines.start,
        outlines.middle,
        outlines.node,
        outlines.pixel >= image.height * image.width,
        keep,
        np.array([1 / camera.far, 1 / camera.near - 1 / camera.far]),
        np.array([tolerance.edge, tolerance.edge, tolerance.cut, tolerance.hidden]),
        tolerance.parallax / max(reach, 1e-9),
        tolerance.shift,
        tolerance.longest,
    )
    return keep


@compiled
def _simplify(
    corner: Array,
    middle: Array,
    following: Array,
    twin: Array,
    kind: Array,
    start: Array,
    high: Array,
    node: Array,
    hidden: Array,
    keep: Array,
    depth: Array,
    near: Array,
    parallax: float,
    shift: float,
    longest: float,
) -> None:
    most = 2
    for c in range(len(start) - 1):
        most = max(most, start[c + 1] - start[c] + 2)
    points = np.empty((most, 4))  # x, y, disparity on this side, disparity across
    kept, stack = np.empty(most, np.bool_), np.empty((most, 2), np.int64)
    for c in range(len(start) - 1):
        first, n = start[c], start[c + 1] - start[c]
        last = first + n - 1
        if twin[last] >= 0 and twin[last] < first:
            continue  # done from the other side
        rule = int(kind[first])
        if rule == 0 and hidden[first : last + 1].all():
            rule = 3
        for i in range(n):
            h = first + i
            points[i + 1, 0], points[i + 1, 1] = middle[h, 0], middle[h, 1]
            points[i + 1, 2] = points[i + 1, 3] = high[h]
            if kind[h] == 1:
                points[i + 1, 3] = high[twin[h]]
        end = following[last]
        points[0, 0], points[0, 1] = corner[first, 0], corner[first, 1]
        points[n + 1, 0], points[n + 1, 1] = corner[end, 0], corner[end, 1]
        points[0, 2] = points[0, 3] = node[first]
        points[n + 1, 2] = points[n + 1, 3] = node[end]
        if kind[first] == 1:
            points[0, 3], points[n + 1, 3] = node[following[twin[first]]], node[twin[last]]
        _peucker(points, n + 2, near[rule], parallax, shift, longest, depth, kept, stack)
        for i in range(n):
            h = first + i
            keep[h] = kept[i + 1]
            if twin[h] >= 0:
                keep[twin[h]] = kept[i + 1]


@compiled
def _peucker(
    points: Array,
    count: int,
    near: float,
    parallax: float,
    shift: float,
    longest: float,
    depth: Array,
    kept: Array,
    stack: Array,
) -> None:
    kept[:count] = False
    kept[0] = kept[count - 1] = True
    stack[0, 0], stack[0, 1] = 0, count - 1
    top = 1
    while top > 0:
        top -= 1
        a, b = stack[top, 0], stack[top, 1]
        if b - a < 2:
            continue
        dx, dy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        square = dx * dx + dy * dy
        worst, split = 1.0, -1
        for i in range(a + 1, b):
            x, y = points[i, 0] - points[a, 0], points[i, 1] - points[a, 1]
            t = 0.0
            if square > 0:
                t = min(1.0, max(0.0, (x * dx + y * dy) / square))
            off = np.hypot(x - t * dx, y - t * dy) / near
            for side in range(2, 4):
                chord = points[a, side] + t * (points[b, side] - points[a, side])
                off = max(off, abs(points[i, side] - chord) / parallax)
            if off > worst:
                worst, split = off, i
        if split < 0:
            length = np.sqrt(square)
            for side in range(2, 4):
                one, two = depth[0] + depth[1] * points[a, side], depth[0] + depth[1] * points[b, side]
                if length > longest or length * abs(one - two) > 2 * shift * (one + two):
                    split = (a + b) // 2
        if split >= 0:
            kept[split] = True
            stack[top, 0], stack[top, 1] = a, split
            stack[top + 1, 0], stack[top + 1, 1] = split, b
            top += 2
