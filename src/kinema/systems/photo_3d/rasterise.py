"""Pictures of a textured mesh without a graphics card: a depth buffer, and the texture with correct perspective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.errors import UserError
from kinema.systems.photo_3d.camera import Array, Camera
from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.mesh import TexturedMesh


def render(
    mesh: TexturedMesh,
    camera: Camera | None = None,
    position: Sequence[float] = (0.0, 0.0, 0.0),
    size: tuple[int, int] | None = None,
    supersample: int = 1,
    still_depth: float | None = None,
) -> tuple[Array, Array]:
    """A picture (H, W, 3) uint8 of the mesh and how much of each pixel it covers, (H, W) float32 in [0, 1].

    camera: a Camera, by default the mesh's own; it looks down -Z from `position`. size: (H, W), by default the photo's;
    the picture's width always spans the camera's field of view. supersample: samples a pixel along each side, which
    smooth the silhouettes. still_depth: the depth that stays where it is as the camera moves sideways, as behind a
    window (the frustum is sheared); None for a camera that does not look back. What the mesh does not cover is black.
    """

    camera = mesh.camera if camera is None else camera
    height, width = (camera.height, camera.width) if size is None else size
    if not (1 <= height <= 16384 and 1 <= width <= 16384 and 1 <= supersample <= 4):
        raise UserError(
            f"a picture of {width}x{height} pixels with {supersample} samples a side cannot be rendered: "
            "expected 1 to 16384 pixels a side and 1 to 4 samples"
        )
    rows, columns = height * supersample, width * supersample
    seen = mesh.positions.astype(np.float64) - np.asarray(position, np.float64)
    depth = -seen[:, 2]
    focal = camera.focal * columns / camera.width
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth > 1e-6, 1 / depth, 0.0)
    back = 0.0 if still_depth is None else focal / still_depth
    middle = columns / 2 + back * position[0], rows / 2 - back * position[1]
    screen = np.stack(
        [middle[0] + focal * seen[:, 0] * inverse, middle[1] - focal * seen[:, 1] * inverse, inverse], -1
    )
    texture_size = mesh.texture.shape[1::-1]
    picture = np.zeros((rows, columns, 3), np.uint8)
    nearest = np.zeros((rows, columns))
    _draw(screen, mesh.texcoords * texture_size, mesh.triangles, mesh.texture, picture, nearest)
    covered = (nearest > 0).astype(np.float32)
    if supersample == 1:
        return picture, covered
    shape = (height, supersample, width, supersample)
    return (
        np.rint(picture.reshape(*shape, 3).mean((1, 3))).astype(np.uint8),
        covered.reshape(shape).mean((1, 3), dtype=np.float32),
    )


@compiled
def _draw(
    screen: Array, texel: Array, triangles: Array, texture: Array, picture: Array, nearest: Array
) -> None:
    """Draw triangles over each other; `nearest` holds 1/z of what is seen, 0 for nothing."""
    rows, columns = nearest.shape
    high, wide = texture.shape[0] - 1, texture.shape[1] - 1
    rim = (
        1e-4  # pixels; a centre on the line between two triangles belongs to both, so that none falls between
    )
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if screen[a, 2] <= 0 or screen[b, 2] <= 0 or screen[c, 2] <= 0:
            continue
        ax, ay = screen[a, 0], screen[a, 1]
        abx, aby = screen[b, 0] - ax, screen[b, 1] - ay
        acx, acy = screen[c, 0] - ax, screen[c, 1] - ay
        area = abx * acy - aby * acx
        if area == 0:
            continue
        left = max(0, int(np.floor(min(ax, ax + abx, ax + acx) - 0.5)))
        right = min(columns - 1, int(np.ceil(max(ax, ax + abx, ax + acx) - 0.5)))
        top = max(0, int(np.floor(min(ay, ay + aby, ay + acy) - 0.5)))
        bottom = min(rows - 1, int(np.ceil(max(ay, ay + aby, ay + acy) - 0.5)))
        # weights of b and c, and all that is linear on the screen, as value + x * across + y * down
        wbx, wby = acy / area, -acx / area
        wcx, wcy = -aby / area, abx / area
        longest = max(np.hypot(abx, aby), np.hypot(acx, acy), np.hypot(acx - abx, acy - aby))
        slack = rim * longest / abs(area)
        za, ua, va = screen[a, 2], texel[a, 0] * screen[a, 2], texel[a, 1] * screen[a, 2]
        zb, ub, vb = screen[b, 2] - za, texel[b, 0] * screen[b, 2] - ua, texel[b, 1] * screen[b, 2] - va
        zc, uc, vc = screen[c, 2] - za, texel[c, 0] * screen[c, 2] - ua, texel[c, 1] * screen[c, 2] - va
        for y in range(top, bottom + 1):
            dy = y + 0.5 - ay
            for x in range(left, right + 1):
                dx = x + 0.5 - ax
                wb = dx * wbx + dy * wby
                wc = dx * wcx + dy * wcy
                if wb < -slack or wc < -slack or wb + wc > 1 + slack:
                    continue
                z = za + wb * zb + wc * zc
                if z <= nearest[y, x]:
                    continue
                nearest[y, x] = z
                u = min(max((ua + wb * ub + wc * uc) / z - 0.5, 0.0), wide)
                v = min(max((va + wb * vb + wc * vc) / z - 0.5, 0.0), high)
                u0, v0 = int(u), int(v)
                u1, v1 = min(u0 + 1, wide), min(v0 + 1, high)
                fu, fv = u - u0, v - v0
                for k in range(3):
                    above = texture[v0, u0, k] * (1 - fu) + texture[v0, u1, k] * fu
                    below = texture[v1, u0, k] * (1 - fu) + texture[v1, u1, k] * fu
                    picture[y, x, k] = int(above * (1 - fv) + below * fv + 0.5)
