"""Points inside charts: many where depth changes fast, few where it does not."""

from __future__ import annotations

import numpy as np

from kinema.systems.photo_3d.atlas import Atlas
from kinema.systems.photo_3d.camera import Array, Camera
from kinema.systems.photo_3d.compiled import compiled
from kinema.systems.photo_3d.layered import LayeredImage

SMALLEST, LEVELS = 8, 4  # texels of the smallest block, and how often it doubles: 8, 16, 32, 64
CLEAR = 3  # texels that a stud keeps from the end of its chart


def place_studs(
    image: LayeredImage, chart: Array, atlas: Atlas, camera: Camera, reach: float, wanted: int
) -> Array:
    """Texels (N, 2) as (u, v), about as many as wanted, each well inside its chart.

    A tree of square blocks, halved where a flat piece of their size would be wrong: the texture's shift grows with the
    slope of inverse depth, the error of parallax with its curvature. reach: as in `simplify`.
    """
    if wanted < 1:
        return np.empty((0, 2), np.int64)
    rows, columns = (-(-side // (SMALLEST << (LEVELS - 1))) << (LEVELS - 1) for side in atlas.owner.shape)
    sums = np.zeros((rows, columns, 6))
    inverse = camera.inverse_depth(image.disparity.astype(np.float64))
    _gather(atlas.owner, image.neighbours, chart, inverse, sums)
    reach /= 1 / camera.near - 1 / camera.far
    counts, errors = [], []
    for level in range(LEVELS):
        if level:
            sums = sums[::2, ::2] + sums[1::2, ::2] + sums[::2, 1::2] + sums[1::2, 1::2]
        area = float((SMALLEST << level) ** 2)
        mean = sums[..., 1:] / np.maximum(sums[..., :1], 1)
        shift = np.hypot(mean[..., 1], mean[..., 2]) / (4 * np.maximum(mean[..., 0], 1e-9))
        curve = (np.abs(mean[..., 3]) + np.abs(mean[..., 4])) / 8 * reach
        counts.append(sums[..., 0] / area)
        errors.append(area * (4 * shift + curve))
    low, high = 1e-4, 1e4
    for _ in range(24):
        middle = np.sqrt(low * high)
        if sum(len(leaves) for leaves in _leaves(counts, errors, middle)) > wanted:
            low = middle
        else:
            high = middle
    found = []
    for level, leaves in enumerate(_leaves(counts, errors, high)):
        side = SMALLEST << level
        found.append(leaves[:, ::-1] * side + side // 2)
    studs = np.concatenate(found)
    studs = studs[(studs[:, 0] < atlas.owner.shape[1]) & (studs[:, 1] < atlas.owner.shape[0])]
    return studs[_clear(studs, atlas.owner, chart)]


def _leaves(counts: list[Array], errors: list[Array], allowed: float) -> list[Array]:
    """Blocks (N, 2) as (row, column) of each level, the smallest first, that are good enough and mostly filled."""
    alive = np.ones(counts[-1].shape, bool)
    leaves: list[Array] = []
    for level in range(LEVELS - 1, -1, -1):
        good = (errors[level] <= allowed) | (level == 0)
        leaves.append(np.argwhere(alive & good & (counts[level] > 0.5)))
        split = alive & (~good | (counts[level] <= 0.5)) & (counts[level] > 0)
        alive = split.repeat(2, 0).repeat(2, 1)
    return leaves[::-1]


@compiled
def _gather(owner: Array, neighbours: Array, chart: Array, inverse: Array, sums: Array) -> None:
    """For each block of 8 x 8 texels: their number, inverse depth, its first and its second differences over links."""
    for v in range(owner.shape[0]):
        for u in range(owner.shape[1]):
            p = owner[v, u]
            if p < 0:
                continue
            cell = sums[v // 8, u // 8]
            value = inverse[p]
            cell[0] += 1
            cell[1] += value
            left, right, up, down = neighbours[p, 0], neighbours[p, 1], neighbours[p, 2], neighbours[p, 3]
            if right >= 0:
                cell[2] += inverse[right] - value
                if left >= 0:
                    cell[4] += inverse[right] + inverse[left] - 2 * value
            if down >= 0:
                cell[3] += inverse[down] - value
                if up >= 0:
                    cell[5] += inverse[down] + inverse[up] - 2 * value


@compiled
def _clear(studs: Array, owner: Array, chart: Array) -> Array:
    """Whether all texels around a stud belong to its own chart."""
    good = np.zeros(len(studs), np.bool_)
    height, width = owner.shape
    for i in range(len(studs)):
        u, v = studs[i, 0], studs[i, 1]
        if u < CLEAR or v < CLEAR or u >= width - CLEAR or v >= height - CLEAR or owner[v, u] < 0:
            continue
        own = chart[owner[v, u]]
        good[i] = True
        for b in range(v - CLEAR, v + CLEAR + 1):
            for a in range(u - CLEAR, u + CLEAR + 1):
                if owner[b, a] < 0 or chart[owner[b, a]] != own:
                    good[i] = False
    return good
