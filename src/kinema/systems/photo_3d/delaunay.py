"""Constrained Delaunay triangulation on whole numbers, where every geometric question has an exact answer.

Triangles turn from x to y. `across[t, i]` is the triangle behind the side of t that lies opposite its corner i, which
runs from corner i + 1 to corner i + 2; `fixed[t, i]` is the segment on that side, -1 for none.
"""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.compiled import compiled

LIMIT = 1 << 14  # of coordinates: the in-circle determinant then fits into 64 bits


def triangulate(points: Array, segments: Array) -> tuple[Array, Array, Array]:
    """Triangles among points (N, 2), different whole numbers in [0, LIMIT], that contain the segments (S, 2).

    Gives the corners (T, 3) of the triangles that segments enclose on their positive side, the segments in conflict
    (C,), which would cross another or run through a point and so are not in the triangulation, and the stray ones (R,),
    which lie where others enclose nothing, or have an enclosed region on their negative side.
    """
    low, high = -2, LIMIT + 2
    box = np.array([[low, low], [high, low], [high, high], [low, high]], np.int64)
    every = np.concatenate([points.astype(np.int64), box])
    corners, across, count = _delaunay(every, _walk_order(points))
    fixed = np.full_like(corners, -1)
    conflict = np.zeros(len(segments), np.bool_)
    _constrain(every, corners, across, fixed, count, segments.astype(np.int64), conflict)
    found, stray = _inside(corners, across, fixed, count, segments.astype(np.int64), len(points))
    return found, np.flatnonzero(conflict), stray


def _walk_order(points: Array) -> Array:
    """An order in which each point lies near the one before: rows of cells, forth and back."""
    side = max(1, int(np.sqrt(len(points) / 4)))
    column, row = (points.astype(np.int64) * side // (int(points.max(initial=0)) + 1)).T
    column = np.where(row % 2 == 0, column, side - 1 - column)
    order: Array = np.lexsort((column, row))
    return order


@compiled
def _turn(p: Array, a: int, b: int, c: int) -> int:
    """Twice the signed area of the triangle a, b, c."""
    return (p[b, 0] - p[a, 0]) * (p[c, 1] - p[a, 1]) - (p[b, 1] - p[a, 1]) * (p[c, 0] - p[a, 0])


@compiled
def _in_circle(p: Array, a: int, b: int, c: int, d: int) -> bool:
    """Whether d lies inside the circle through a, b, c."""
    ax, ay = p[a, 0] - p[d, 0], p[a, 1] - p[d, 1]
    bx, by = p[b, 0] - p[d, 0], p[b, 1] - p[d, 1]
    cx, cy = p[c, 0] - p[d, 0], p[c, 1] - p[d, 1]
    return (
        (ax * ax + ay * ay) * (bx * cy - cx * by)
        - (bx * bx + by * by) * (ax * cy - cx * ay)
        + (cx * cx + cy * cy) * (ax * by - bx * ay)
    ) > 0


@compiled
def _relink(across: Array, t: int, old: int, new: int) -> None:
    if t >= 0:
        for i in range(3):
            if across[t, i] == old:
                across[t, i] = new


@compiled
def _set(corners: Array, t: int, a: int, b: int, c: int) -> None:
    corners[t, 0], corners[t, 1], corners[t, 2] = a, b, c


@compiled
def _flip(corners: Array, across: Array, fixed: Array, t: int, i: int) -> int:
    """Turn the side opposite corner i of t: t = (p, b, c) and u = (d, c, b) become (p, b, d) and (p, d, c); gives u."""
    u = across[t, i]
    j = 0
    while across[u, j] != t:
        j += 1
    i1, i2, j1, j2 = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
    p, b, c, d = corners[t, i], corners[t, i1], corners[t, i2], corners[u, j]
    cp, pb, bd, dc = across[t, i1], across[t, i2], across[u, j1], across[u, j2]
    fcp, fpb, fbd, fdc = fixed[t, i1], fixed[t, i2], fixed[u, j1], fixed[u, j2]
    _set(corners, t, p, b, d)
    _set(across, t, bd, u, pb)
    _set(fixed, t, fbd, -1, fpb)
    _set(corners, u, p, d, c)
    _set(across, u, dc, cp, t)
    _set(fixed, u, fdc, fcp, -1)
    _relink(across, bd, u, t)
    _relink(across, cp, t, u)
    return u


@compiled
def _delaunay(p: Array, order: Array) -> tuple[Array, Array, int]:
    n = p.shape[0]
    corners, across = np.full((2 * n + 4, 3), -1, np.int32), np.full((2 * n + 4, 3), -1, np.int32)
    fixed = np.full((2 * n + 4, 3), -1, np.int32)
    _set(corners, 0, n - 4, n - 3, n - 2)
    _set(corners, 1, n - 4, n - 2, n - 1)
    across[0, 1], across[1, 2] = 1, 0
    count, t = 2, 0
    stack = np.empty(4 * n + 64, np.int32)
    for v in order:
        edge = -1
        moving = True
        while moving:
            moving, edge = False, -1
            for i in range(3):
                side = _turn(p, corners[t, (i + 1) % 3], corners[t, (i + 2) % 3], v)
                if side < 0:
                    t = across[t, i]
                    moving = True
                    break
                if side == 0:
                    edge = i
        top = 0
        if edge < 0:
            a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
            bc, ca, ab = across[t, 0], across[t, 1], across[t, 2]
            t1, t2 = count, count + 1
            count += 2
            _set(corners, t, a, b, v)
            _set(across, t, t1, t2, ab)
            _set(corners, t1, b, c, v)
            _set(across, t1, t2, t, bc)
            _set(corners, t2, c, a, v)
            _set(across, t2, t, t1, ca)
            _relink(across, bc, t, t1)
            _relink(across, ca, t, t2)
            stack[0], stack[1], stack[2] = t, t1, t2
            top = 3
        else:
            u = across[t, edge]
            j = 0
            while across[u, j] != t:
                j += 1
            a, b, c = corners[t, edge], corners[t, (edge + 1) % 3], corners[t, (edge + 2) % 3]
            d = corners[u, j]
            ca, ab = across[t, (edge + 1) % 3], across[t, (edge + 2) % 3]
            bd, dc = across[u, (j + 1) % 3], across[u, (j + 2) % 3]
            t2, u2 = count, count + 1
            count += 2
            _set(corners, t, a, b, v)
            _set(across, t, u2, t2, ab)
            _set(corners, t2, a, v, c)
            _set(across, t2, u, ca, t)
            _set(corners, u, d, c, v)
            _set(across, u, t2, u2, dc)
            _set(corners, u2, d, v, b)
            _set(across, u2, t, bd, u)
            _relink(across, ca, t, t2)
            _relink(across, bd, u, u2)
            stack[0], stack[1], stack[2], stack[3] = t, t2, u, u2
            top = 4
        while top > 0:
            top -= 1
            t = stack[top]
            i = 0
            while corners[t, i] != v:
                i += 1
            u = across[t, i]
            if u < 0:
                continue
            j = 0
            while across[u, j] != t:
                j += 1
            if _in_circle(p, corners[t, 0], corners[t, 1], corners[t, 2], corners[u, j]):
                u = _flip(corners, across, fixed, t, i)
                stack[top], stack[top + 1] = t, u
                top += 2
    return corners, across, count


@compiled
def _find(corners: Array, across: Array, at: Array, a: int, b: int) -> tuple[int, int]:
    """A triangle with the side from a to b, in either direction, and the corner opposite; (-1, -1) for none."""
    for way in range(1, 3):
        t = at[a]
        while t >= 0:
            k = 0
            while corners[t, k] != a:
                k += 1
            if corners[t, (k + 1) % 3] == b:
                return t, (k + 2) % 3
            if corners[t, (k + 2) % 3] == b:
                return t, (k + 1) % 3
            t = across[t, (k + way) % 3]
            if t == at[a]:
                return -1, -1
    return -1, -1


@compiled
def _crossed(
    p: Array, corners: Array, across: Array, fixed: Array, at: Array, a: int, b: int, queue: Array
) -> int:
    """Sides that the segment from a to b crosses, into `queue`; -1 where it meets a point, -2 - s at segment s."""
    for way in range(1, 3):
        t = at[a]
        while t >= 0:
            k = 0
            while corners[t, k] != a:
                k += 1
            right, left = corners[t, (k + 1) % 3], corners[t, (k + 2) % 3]
            to_right, to_left = _turn(p, a, b, right), _turn(p, a, b, left)
            ahead = _turn(p, right, left, b) < 0  # b lies behind the side opposite a
            if ahead and to_right < 0 and to_left > 0:
                count, i = 0, k
                while True:
                    if fixed[t, i] >= 0:
                        return -2 - fixed[t, i]
                    queue[count, 0], queue[count, 1] = right, left
                    count += 1
                    u = across[t, i]
                    j = 0
                    while across[u, j] != t:
                        j += 1
                    d = corners[u, j]
                    if d == b:
                        return count
                    side = _turn(p, a, b, d)
                    if side == 0:
                        return -1
                    t = u
                    if side < 0:
                        right = d
                    else:
                        left = d
                    i = 0  # the corner left behind: the next side lies opposite it
                    while corners[t, i] == right or corners[t, i] == left:
                        i += 1
            for met in (right, left):
                if _turn(p, a, b, met) == 0:
                    dot = (p[met, 0] - p[a, 0]) * (p[b, 0] - p[a, 0]) + (p[met, 1] - p[a, 1]) * (
                        p[b, 1] - p[a, 1]
                    )
                    if dot > 0:
                        return -1
            t = across[t, (k + way) % 3]
            if t == at[a]:
                return -1
    return -1


@compiled
def _constrain(
    p: Array, corners: Array, across: Array, fixed: Array, count: int, segments: Array, conflict: Array
) -> None:
    at = np.zeros(p.shape[0], np.int32)  # a triangle of each point
    for t in range(count):
        for i in range(3):
            at[corners[t, i]] = t
    queue = np.empty((count + 64, 2), np.int32)
    for s in range(segments.shape[0]):
        a, b = segments[s, 0], segments[s, 1]
        t, i = _find(corners, across, at, a, b)
        if t < 0:
            left = _crossed(p, corners, across, fixed, at, a, b, queue)
            if left < 0:
                conflict[s] = True
                if left < -1:
                    conflict[-2 - left] = True
                continue
            head = 0
            while left > 0:
                one, two = queue[head, 0], queue[head, 1]
                t, i = _find(corners, across, at, one, two)
                u = across[t, i]
                j = 0
                while across[u, j] != t:
                    j += 1
                c, d = corners[t, i], corners[u, j]
                e, f = corners[t, (i + 1) % 3], corners[t, (i + 2) % 3]
                if _turn(p, c, e, d) > 0 and _turn(p, d, f, c) > 0:  # convex: the side may be turned
                    u = _flip(corners, across, fixed, t, i)
                    at[c], at[d], at[e], at[f] = t, t, t, u
                    one, two = c, d
                    ends = c in (a, b) or d in (a, b)
                    if ends or (_turn(p, a, b, c) > 0) == (_turn(p, a, b, d) > 0):
                        head, left = (head + 1) % len(queue), left - 1
                        continue
                tail = (head + left) % len(queue)
                queue[tail, 0], queue[tail, 1] = one, two
                head = (head + 1) % len(queue)
            t, i = _find(corners, across, at, a, b)
        if fixed[t, i] >= 0:
            conflict[s] = conflict[fixed[t, i]] = True
            continue
        fixed[t, i] = s
        u = across[t, i]
        for j in range(3):
            if across[u, j] == t:
                fixed[u, j] = s
    stack = np.empty(16 * count + 64, np.int32)
    top = 0
    for t in range(count):
        stack[top] = t
        top += 1
    while top > 0:  # what the segments disturbed is made Delaunay again
        top -= 1
        t = stack[top]
        for i in range(3):
            u = across[t, i]
            if u < 0 or fixed[t, i] >= 0:
                continue
            j = 0
            while across[u, j] != t:
                j += 1
            if _in_circle(p, corners[t, 0], corners[t, 1], corners[t, 2], corners[u, j]):
                u = _flip(corners, across, fixed, t, i)
                if top + 6 < len(stack):
                    for k in range(3):
                        for w in (t, u):
                            if across[w, k] >= 0 and across[w, k] != t and across[w, k] != u:
                                stack[top] = across[w, k]
                                top += 1
                    stack[top], stack[top + 1] = t, u
                    top += 2
                break


@compiled
def _inside(
    corners: Array, across: Array, fixed: Array, count: int, segments: Array, box: int
) -> tuple[Array, Array]:
    """The triangles of the regions that lie on the positive side of most of their segments, and the other segments."""
    region = np.full(count, -1, np.int32)
    stack = np.empty(count, np.int32)
    right, wrong = np.zeros(count, np.int32), np.zeros(count, np.int32)
    regions = 0
    for seed in range(count):
        if region[seed] >= 0:
            continue
        region[seed] = regions
        stack[0] = seed
        top = 1
        while top > 0:
            top -= 1
            t = stack[top]
            for i in range(3):
                u, s = across[t, i], fixed[t, i]
                if corners[t, i] >= box:
                    wrong[regions] = count  # the world around, whatever lies in it
                if s >= 0:
                    if corners[t, (i + 1) % 3] == segments[s, 0]:
                        right[regions] += 1
                    else:
                        wrong[regions] += 1
                elif u >= 0 and region[u] < 0:
                    region[u] = regions
                    stack[top] = u
                    top += 1
        regions += 1
    stray = np.zeros(segments.shape[0], np.bool_)
    good = np.zeros(count, np.bool_)
    for t in range(count):
        r = region[t]
        good[t] = right[r] > wrong[r]
        for i in range(3):
            s = fixed[t, i]
            if s >= 0 and (corners[t, (i + 1) % 3] == segments[s, 0]) != good[t]:
                stray[s] = True
    return corners[:count][good], np.flatnonzero(stray)
