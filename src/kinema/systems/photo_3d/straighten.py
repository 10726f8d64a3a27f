"""Lay the texture so that the photo comes back exactly although the triangles are large.

Viewers move a texture over a triangle evenly in space. Seen from where the photo was taken that is not even on the
screen: where a triangle recedes, its texture comes to lie up to L |z - z'| / 2 (z + z') pixels beside the photo. The
texture is therefore drawn once more, each texel with what the photo shows where that texel will appear.
"""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.compiled import compiled

RIM = 1.5  # texels around a triangle that filtering may see


def straighten(texels: Array, corners: Array, inverse: Array, triangles: Array) -> Array:
    """The texture (H, W, 3) uint8 anew.

    corners: (V, 2), the vertices' places in it, in texels. inverse: (V,), their 1/z. triangles: (T, 3).
    """
    made = texels.copy()
    state = np.full(texels.shape[:2], RIM, np.float32)
    _draw(texels, np.ascontiguousarray(corners, np.float64), 1 / inverse, triangles, made, state)
    return made


@compiled
def _cubic(t: float) -> tuple[float, float, float, float]:
    """Catmull-Rom weights of the four samples around a position, t after the second."""
    return (
        t * (t * (1 - 0.5 * t) - 0.5),
        t * t * (1.5 * t - 2.5) + 1,
        t * (t * (2 - 1.5 * t) + 0.5),
        t * t * (0.5 * t - 0.5),
    )


@compiled
def _sample(texels: Array, x: float, y: float, made: Array) -> None:
    height, width = texels.shape[:2]
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    across, down = _cubic(x - x0), _cubic(y - y0)
    red = green = blue = 0.0
    for j in range(4):
        row = min(max(y0 - 1 + j, 0), height - 1)
        for i in range(4):
            column = min(max(x0 - 1 + i, 0), width - 1)
            weight = across[i] * down[j]
            red += weight * texels[row, column, 0]
            green += weight * texels[row, column, 1]
            blue += weight * texels[row, column, 2]
    made[0] = min(max(int(red + 0.5), 0), 255)
    made[1] = min(max(int(green + 0.5), 0), 255)
    made[2] = min(max(int(blue + 0.5), 0), 255)


@compiled
def _draw(texels: Array, corners: Array, depth: Array, triangles: Array, made: Array, state: Array) -> None:
    """`state`: texels from a texel to the triangle that it was drawn for, 0 inside, RIM for none.

    What filtering sees beyond the edge of a chart belongs to the triangle that is nearest.
    """
    height, width = state.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = corners[a, 0], corners[a, 1]
        abx, aby = corners[b, 0] - ax, corners[b, 1] - ay
        acx, acy = corners[c, 0] - ax, corners[c, 1] - ay
        area = abx * acy - aby * acx
        if area == 0:
            continue
        longest = max(np.hypot(abx, aby), np.hypot(acx, acy), np.hypot(acx - abx, acy - aby))
        apart = max(depth[a], depth[b], depth[c]) - min(depth[a], depth[b], depth[c])
        level = longest * apart < 0.04 * (depth[a] + depth[b])  # nowhere a hundredth of a pixel
        slope_a = np.hypot(acx - abx, acy - aby) / abs(area)
        slope_b = np.hypot(acx, acy) / abs(area)
        slope_c = np.hypot(abx, aby) / abs(area)
        left = max(0, int(np.floor(min(ax, ax + abx, ax + acx) - RIM)))
        right = min(width - 1, int(np.ceil(max(ax, ax + abx, ax + acx) + RIM)))
        top = max(0, int(np.floor(min(ay, ay + aby, ay + acy) - RIM)))
        bottom = min(height - 1, int(np.ceil(max(ay, ay + aby, ay + acy) + RIM)))
        for v in range(top, bottom + 1):
            dy = v + 0.5 - ay
            for u in range(left, right + 1):
                if state[v, u] == 0:
                    continue
                dx = u + 0.5 - ax
                wb, wc = (dx * acy - dy * acx) / area, (dy * abx - dx * aby) / area
                wa = 1 - wb - wc
                away = max(0.0, -wa / slope_a, -wb / slope_b, -wc / slope_c)
                if away >= state[v, u]:
                    continue
                state[v, u] = away
                if level:
                    for channel in range(3):
                        made[v, u, channel] = texels[v, u, channel]
                    continue
                wa, wb, wc = wa * depth[a], wb * depth[b], wc * depth[c]
                total = wa + wb + wc
                _sample(
                    texels,
                    ax + (wb * abx + wc * acx) / total - 0.5,
                    ay + (wb * aby + wc * acy) / total - 0.5,
                    made[v, u],
                )
