"""Charts into triangles: simplified outlines and studs, joined by one triangulation of the whole texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.systems.photo_3d.atlas import PADDING, Atlas
from kinema.systems.photo_3d.camera import Array, Camera
from kinema.systems.photo_3d.delaunay import triangulate as constrained_delaunay
from kinema.systems.photo_3d.layered import LayeredImage
from kinema.systems.photo_3d.outlines import Outlines, find_outlines
from kinema.systems.photo_3d.simplify import Tolerance, simplify
from kinema.systems.photo_3d.studs import place_studs

SCALE = 4  # whole numbers to a texel: middles of sides, centres of pixels, and room to part two corners that touch
ROUNDS = 40  # of correction, far more than it takes
STEPS = 7  # of tolerance, each coarser by half


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Triangles in the photo and in the texture, before they get depth.

    position: (V, 2) in pixels of the photo. disparity: (V,). texel: (V, 2). triangles: (T, 3), turning from x to y.
    """

    position: Array
    disparity: Array
    texel: Array
    triangles: Array


def triangulate(
    image: LayeredImage, chart: Array, atlas: Atlas, camera: Camera, reach: float, budget: int
) -> Flat:
    """At most `budget` triangles that cover every chart, unless the outlines alone need more.

    reach: pixels by which a change of one in disparity moves a point when the viewer has moved as far as he may.
    """
    outlines = find_outlines(image, chart)
    points = _Points(image, chart, atlas, outlines)
    for step in range(STEPS):
        keep = simplify(image, outlines, camera, reach, Tolerance().times(1.5**step))
        corners = len(outlines.start) + int(keep.sum())
        if corners > 0.6 * budget and step < STEPS - 1:
            continue
        wanted = (budget - corners) / 2
        for _ in range(5):
            flat = points.join(keep, place_studs(image, chart, atlas, camera, reach, int(wanted)))
            over = len(flat.triangles) - budget
            if over <= 0:
                return flat
            if wanted < 1:
                break
            wanted = min(0.9 * wanted, wanted - over / 2)
    return flat


class _Points:
    """The points that outlines may have, and what joins them."""

    def __init__(self, image: LayeredImage, chart: Array, atlas: Atlas, outlines: Outlines) -> None:
        self.image, self.chart, self.atlas, self.outlines = image, chart, atlas, outlines
        self.corner, self.middle = outlines.corners(image), outlines.middles(image)
        self.offset = atlas.offset[chart[outlines.pixel]]
        self.last = np.repeat(outlines.start[1:] - 1, np.diff(outlines.start))  # half-edge of the same chain

    def join(self, keep: Array, studs: Array) -> Flat:
        """Triangles between the nodes, the middles kept, and studs; `keep` gains the points that prevent crossings."""
        outlines = self.outlines
        pixel = self.atlas.owner[studs[:, 1], studs[:, 0]]
        inner = np.stack([self.image.x[pixel], self.image.y[pixel]], -1) + 0.5
        for attempt in range(ROUNDS):
            ordinal = np.sort(np.concatenate([2 * outlines.start[:-1], 2 * np.flatnonzero(keep) + 1]))
            half, is_node = ordinal // 2, ordinal % 2 == 0
            position = np.where(is_node[:, None], self.corner[half], self.middle[half])
            grid = np.rint((position + self.offset[half]) * SCALE).astype(np.int64)
            grid = self._part(grid, half, is_node)
            ends = self._ends(half, is_node)
            grid = np.concatenate([grid, studs * SCALE + SCALE // 2])
            segments = np.stack([np.arange(len(half)), ends], -1)
            proper = segments[:, 0] != segments[:, 1]
            triangles, conflict, stray = constrained_delaunay(grid, segments[proper])
            wrong = np.concatenate([np.flatnonzero(proper)[conflict], np.flatnonzero(~proper)])
            if len(wrong) == 0 and len(stray) == 0:
                break
            if len(wrong) == 0:  # a chord has passed over a piece of outline without touching it
                near = _near(grid[segments], np.flatnonzero(proper)[stray])
                wrong = near[~self._whole(keep, half, near)]
            if len(wrong) == 0 or attempt == ROUNDS - 2:
                keep[:] = True  # outlines in full do not cross
            self._refine(keep, half, wrong)
        height = np.where(is_node, outlines.node[half], outlines.middle[half])
        position = np.concatenate([position, inner])
        texel = np.concatenate([position[: len(half)] + self.offset[half], studs + 0.5])
        disparity = np.concatenate([height, self.image.disparity[pixel]])
        triangles = triangles[(triangles < len(position)).all(1)]
        used, renamed = np.unique(triangles, return_inverse=True)
        return Flat(
            position=position[used],
            disparity=disparity[used],
            texel=texel[used],
            triangles=renamed.reshape(-1, 3).astype(np.int32),
        )

    def _part(self, grid: Array, half: Array, is_node: Array) -> Array:
        """Move corners at which a chart touches itself a quarter texel into their own pixels."""
        _, inverse, count = np.unique(grid[:, 1] << 20 | grid[:, 0], return_inverse=True, return_counts=True)
        twice = (count[inverse] > 1) & is_node
        pixel = self.outlines.pixel[half[twice]]
        centre = np.stack([self.image.x[pixel], self.image.y[pixel]], -1) + 0.5
        grid[twice] += np.sign(centre - self.corner[half[twice]]).astype(np.int64)
        return grid

    def _ends(self, half: Array, is_node: Array) -> Array:
        """The point after each point in its loop."""
        at = np.full(len(self.outlines.pixel), -1)
        at[half[is_node]] = np.flatnonzero(is_node)
        ends = np.arange(1, len(half) + 1)
        closing = np.append(is_node[1:], True)
        ends[closing] = at[self.outlines.following[self.last[half[closing]]]]
        return ends

    def _span(self, half: Array, segments: Array) -> tuple[Array, Array]:
        """The half-edges whose middles each segment may have: from the first to before the second."""
        following = np.append(half[1:], len(self.last))
        return half[segments], np.minimum(following[segments], self.last[half[segments]] + 1)

    def _whole(self, keep: Array, half: Array, segments: Array) -> Array:
        """Whether segments have all their middles."""
        begin, end = self._span(half, segments)
        total = np.append(0, np.cumsum(keep))
        whole: Array = total[end] - total[begin] == end - begin
        return whole

    def _refine(self, keep: Array, half: Array, segments: Array) -> None:
        """Keep every middle along these segments, on both sides of the outline."""
        for begin, end in zip(*(part.tolist() for part in self._span(half, segments)), strict=True):
            keep[begin:end] = True
            twins = self.outlines.twin[begin:end]
            keep[twins[twins >= 0]] = True


def _near(ends: Array, stray: Array, most: int = 200) -> Array:
    """The segments within a few texels of the first of the stray ones; ends: (S, 2, 2)."""
    a, along = ends[:, 0].astype(np.float64), (ends[:, 1] - ends[:, 0]).astype(np.float64)
    square = np.maximum((along**2).sum(-1), 1)
    found = np.zeros(len(ends), bool)
    for middle in ends[stray[:most]].mean(1):
        t = np.clip(((middle - a) * along).sum(-1) / square, 0, 1)
        found |= np.hypot(*(middle - a - t[:, None] * along).T) < 3 * PADDING * SCALE
    return np.flatnonzero(found)
