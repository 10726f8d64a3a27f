"""Discontinuity curves: where neighbouring pixels are not linked, chained into curves that end where surfaces meet.

A broken link between two pixels is a unit piece on the lattice of pixel corners. Pieces that meet two at a corner
belong to one curve; a corner where one, three or four meet ends the curves, and so does the border. Along a curve the
front side never changes sides: that would take two neighbours within tau that differ by more than it.
"""

# E pieces, C curves

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.systems.photo_3d.compiled import compiled

CLOSED, BORDER, FREE, JUNCTION = 0, 1, 2, 3  # what is at the end of a curve
TANGENT_REACH = 10  # pieces from a curve's end over which its direction is measured
LEAST_ENTRY = 0.3  # cosine to the normal from which on a line counts as leading under the foreground


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """E pieces in the order of their C curves, and the two ends of each curve."""

    front: np.ndarray  # (E,) int32, pixel on the near side
    back: np.ndarray  # (E,) int32, pixel on the far side
    curve: np.ndarray  # (E,) int32, ascending
    ends: np.ndarray  # (C, 2) int8: CLOSED, BORDER, FREE or JUNCTION
    lines: np.ndarray  # (C, 2, 4) float32: x, y of an end in pixels, unit vector of its constraint line

    @property
    def constrained(self) -> np.ndarray:
        """(C, 2) bool: the ends whose line growth must not cross. The border needs none, it stops growth itself."""
        return self.ends >= FREE


def broken_links(disparity: np.ndarray, tau: float) -> np.ndarray:
    """(2, H, W) bool: whether (y, x) differs by more than tau from (y, x + 1), and from (y + 1, x)."""
    broken = np.zeros((2, *disparity.shape), np.bool_)
    np.greater(np.abs(disparity[:, 1:] - disparity[:, :-1]), np.float32(tau), out=broken[0, :, :-1])
    np.greater(np.abs(disparity[1:] - disparity[:-1]), np.float32(tau), out=broken[1, :-1])
    return broken


def find_curves(disparity: np.ndarray, broken: np.ndarray, shortest: int = 20) -> Curves:
    """Chain broken links into curves. Curves of fewer than `shortest` pieces go, and `broken` loses their pieces.

    A short curve stays where both its ends lie on long ones: without it the contour that they are parts of would have
    a gap. Junctions that vanish with a short curve no longer part the curves that met there.
    """
    height, width = disparity.shape
    flat = broken.reshape(-1)
    pieces = np.flatnonzero(flat).astype(np.int32)
    ids = np.full(flat.size, -1, np.int32)
    while True:
        ids[pieces] = np.arange(len(pieces), dtype=np.int32)
        order, starts, ends, corners = _trace(ids, pieces, height, width)
        lengths = np.diff(starts)
        long = lengths >= shortest
        held = np.isin(corners, corners[long & (ends[:, 0] != CLOSED)]) & (ends == JUNCTION)  # (C, 2)
        stays = long | held.all(1)
        if stays.all():
            break
        gone = pieces[order[np.repeat(~stays, lengths)]]
        flat[gone] = False
        ids[gone] = -1
        pieces = pieces[ids[pieces] >= 0]
    ordered = pieces[order]
    curve = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    places = height * width
    one = ordered % places
    two = one + np.where(ordered < places, 1, width).astype(np.int32)
    values = disparity.reshape(-1)
    nearer = values[one] > values[two]
    front, back = np.where(nearer, one, two), np.where(nearer, two, one)
    lines = _constraint_lines(values, front, back, starts, ends, corners, width)
    return Curves(front=front, back=back, curve=curve, ends=ends, lines=lines)


@compiled
def _corners_of(piece: int, height: int, width: int) -> tuple[int, int]:
    """The two corners of a piece; a corner (v, u), top left of pixel (v, u), has number v * (width + 1) + u."""
    places = height * width
    y, x = (piece % places) // width, piece % width
    if piece < places:  # between (y, x) and (y, x + 1)
        return y * (width + 1) + x + 1, (y + 1) * (width + 1) + x + 1
    return (y + 1) * (width + 1) + x, (y + 1) * (width + 1) + x + 1


@compiled
def _pieces_at(corner: int, ids: np.ndarray, height: int, width: int, found: np.ndarray) -> int:
    """Write the pieces that meet at a corner into `found` (4,); returns their number."""
    places = height * width
    v, u = corner // (width + 1), corner % (width + 1)
    count = 0
    if 0 < u < width:
        for y in (v - 1, v):
            if 0 <= y < height and ids[y * width + u - 1] >= 0:
                found[count] = ids[y * width + u - 1]
                count += 1
    if 0 < v < height:
        for x in (u - 1, u):
            if 0 <= x < width and ids[places + (v - 1) * width + x] >= 0:
                found[count] = ids[places + (v - 1) * width + x]
                count += 1
    return count


@compiled
def _trace(
    ids: np.ndarray, pieces: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chain pieces: their order (E,), where each curve starts in it (C + 1,), kinds of its ends and their corners."""
    total = len(pieces)
    order = np.empty(total, np.int32)
    starts = np.zeros(total + 1, np.int32)
    ends = np.zeros((total, 2), np.int8)
    corners = np.zeros((total, 2), np.int32)
    done = np.zeros(total, np.bool_)
    found = np.empty(4, np.int32)
    curves, count = 0, 0
    for seed in range(total):
        if done[seed]:
            continue
        # Back to the curve's beginning, then forth over all of it.
        piece = seed
        corner = _corners_of(pieces[seed], height, width)[0]
        for recording in range(2):
            while True:
                if recording == 1:
                    order[count] = piece
                    done[piece] = True
                    count += 1
                meeting = _pieces_at(corner, ids, height, width, found)
                if meeting != 2:
                    break
                following = found[1] if found[0] == piece else found[0]
                if (recording == 0 and following == seed) or (recording == 1 and done[following]):
                    meeting = 0  # a closed curve, once around
                    break
                piece = following
                one, two = _corners_of(pieces[piece], height, width)
                corner = two if corner == one else one
            kind = CLOSED
            if meeting != 0:
                v, u = corner // (width + 1), corner % (width + 1)
                at_border = v == 0 or v == height or u == 0 or u == width
                kind = BORDER if at_border else (FREE if meeting == 1 else JUNCTION)
            ends[curves, recording], corners[curves, recording] = kind, corner
            one, two = _corners_of(pieces[piece], height, width)
            corner = two if corner == one else one
        curves += 1
        starts[curves] = count
    return order, starts[: curves + 1], ends[:curves], corners[:curves]


def _constraint_lines(
    values: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    corners: np.ndarray,
    width: int,
) -> np.ndarray:
    """The lines (C, 2, 4) from the curves' ends into the foreground.

    At a T-junction that is the third curve, the one in which the nearest surface has no part, carried straight on:
    where it vanishes behind the foreground, it is expected to continue. Everywhere else, and where it would not lead
    under the foreground, the line is perpendicular to the curve.
    """
    curves = len(ends)
    lines = np.zeros((curves, 2, 4), np.float32)
    if curves == 0:
        return lines
    y, x = np.divmod(corners, width + 1)
    lines[:, :, 0], lines[:, :, 1] = x - 0.5, y - 0.5  # a pixel's centre has whole numbers
    # Sums over the pieces near an end of (front - back), each a unit vector, are perpendicular to the chord.
    across = np.stack([front % width - back % width, front // width - back // width], 1).astype(np.float32)
    sums = np.concatenate([np.zeros((1, 2), np.float32), np.cumsum(across, 0, dtype=np.float64)])
    first, last = starts[:-1], starts[1:]
    reach = np.minimum(last - first, TANGENT_REACH)
    normals = np.stack([sums[first + reach] - sums[first], sums[last] - sums[last - reach]], 1)  # (C, 2, 2)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    lines[:, :, 2:] = normals
    # The way a curve comes to its end: along the chord from the middle of a piece a little before.
    middles = np.stack([front % width + back % width, front // width + back // width], 1) * 0.5  # (E, 2)
    inner = np.stack([middles[first + reach - 1], middles[last - reach]], 1)
    coming = lines[:, :, :2] - inner
    coming /= np.maximum(np.linalg.norm(coming, axis=2, keepdims=True), 1e-9)
    nearest = np.stack([values[front[first]], values[front[last - 1]]], 1)  # (C, 2)
    at = np.flatnonzero(ends.reshape(-1) == JUNCTION)
    # By corner, the lowest front first.
    at = at[np.lexsort((nearest.reshape(-1)[at], corners.reshape(-1)[at]))]
    _, opens = np.unique(corners.reshape(-1)[at], return_index=True)
    meeting = np.diff(np.append(opens, len(at)))
    flat = lines.reshape(-1, 4)
    for turn in (1, 2):  # the two curves of the foreground's contour, at every T-junction at once
        stem, bar = at[opens[meeting == 3]], at[opens[meeting == 3] + turn]
        onward = coming.reshape(-1, 2)[stem]
        leads = (onward * flat[bar, 2:]).sum(1) > LEAST_ENTRY
        flat[bar[leads], 2:] = onward[leads]
    return lines
