"""Middlebury's Motorcycle as a test of views: the true second camera, and which of its pixels the first one sees.

Both views are rectified: a point in column x of the left photo lies in column x - d of the right one, in the same row.
"""

# H W rows and columns of either photo

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.media.depth import Intrinsics
from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.depth_measures import motorcycle
from kinema.systems.photo_3d.mesh import TexturedMesh
from kinema.systems.photo_3d.rasterise import render

JUMP = 2.0  # columns: neighbours whose disparity differs by less are one surface, which is stretched and not torn
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """The photos (H, W, 3) uint8, the left one's disparity (H, W) in columns, NaN where unknown, and the cameras."""

    left: Array
    right: Array
    disparity: Array
    intrinsics: Intrinsics

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest true disparity."""
        return float(np.nanmin(self.disparity)), float(np.nanmax(self.disparity))

    @property
    def baseline(self) -> float:
        """Metres between the cameras."""
        assert self.intrinsics.baseline is not None
        return self.intrinsics.baseline

    @property
    def still_depth(self) -> float:
        """Metres at which a point has the same column in both photos.

        The right principal point lies `doffs` columns further right, so that is not at infinity.
        """
        return self.intrinsics.focal * self.baseline / self.intrinsics.doffs

    def camera(self, low: float, high: float) -> Camera:
        """The left camera in metres, for disparities of which 0 and 1 stand for `low` and `high` columns.

        Its principal point is the middle, which the true one is not. To a camera that only moves sideways this makes
        no difference: points that are sheared sideways by their depth show the same parallax.
        """
        shared = self.intrinsics.focal * self.baseline
        height, width = self.disparity.shape
        view = math.degrees(2 * math.atan(width / 2 / self.intrinsics.focal))
        near, far = (shared / (columns + self.intrinsics.doffs) for columns in (high, low))
        return Camera(width, height, view, near, far)

    def render(self, mesh: TexturedMesh) -> tuple[Array, Array]:
        """What the right camera sees of a mesh in metres: a picture (H, W, 3) uint8, and the share covered (H, W)."""
        return render(mesh, position=(self.baseline, 0.0, 0.0), still_depth=self.still_depth)

    def smaller(self, factor: int) -> Pair:
        """Both photos averaged over squares, and every so many disparities."""
        height, width = (side // factor * factor for side in self.disparity.shape)
        left, right = (
            np.rint(
                photo[:height, :width]
                .reshape(height // factor, factor, width // factor, factor, 3)
                .mean((1, 3))
            ).astype(np.uint8)
            for photo in (self.left, self.right)
        )
        disparity = self.disparity[factor // 2 : height : factor, factor // 2 : width : factor] / np.float32(
            factor
        )
        camera = self.intrinsics
        return Pair(
            left=left,
            right=right,
            disparity=disparity,
            intrinsics=Intrinsics(
                focal=camera.focal / factor, baseline=camera.baseline, doffs=camera.doffs / factor
            ),
        )


@lru_cache(maxsize=1)
def pair() -> Pair:
    """The pair as it lies in scikit-image."""
    from skimage.data import stereo_motorcycle

    left, truth = motorcycle()
    assert truth.intrinsics is not None
    return Pair(left=left, right=stereo_motorcycle()[1], disparity=truth.values, intrinsics=truth.intrinsics)


def filled(disparity: Array) -> Array:
    """Unknown disparities become that of the nearest known pixel."""
    from scipy.ndimage import distance_transform_edt

    row, column = distance_transform_edt(~np.isfinite(disparity), return_distances=False, return_indices=True)
    return disparity[row, column]


def next_known(disparity: Array) -> tuple[Array, Array]:
    """For each pixel the next known disparity of its row on the left and on the right, its own where it is known.

    Where a row has none on one side, the other side's; NaN where it has none at all.
    """
    height, width = disparity.shape
    known = np.isfinite(disparity)
    column = np.arange(width)
    before = np.maximum.accumulate(np.where(known, column, -1), 1)
    after = np.minimum.accumulate(np.where(known, column, width)[:, ::-1], 1)[:, ::-1]
    row = np.arange(height)[:, None]
    one, two = np.where(before < 0, after, before), np.where(after == width, before, after)
    one, two = one.clip(0, width - 1), two.clip(0, width - 1)
    return disparity[row, one], disparity[row, two]


def seen_from_right(disparity: Array) -> Array:
    """Disparity (H, W) of what the right camera sees of the left photo's surface, NaN where no left pixel lands.

    Forward warping: neighbours in a row that differ by less than JUMP are one surface and cover what lies between the
    places where they land; across a jump, or beside an unknown pixel, a pixel covers its own width and no more. Where
    several land the nearest is seen.
    """
    height, width = disparity.shape
    row = np.broadcast_to(np.arange(height)[:, None], (height, width))
    known = np.isfinite(disparity)
    place = np.where(known, np.arange(width) - disparity, 0.0)

    def cover(which: Array, begin: Array, end: Array, first: Array, last: Array) -> Array:
        """Lay disparities from `first` to `last` over the columns from `begin` to `end`, ends included; (H, W)."""
        found = np.full((height, width), -np.inf)
        rows, low = row[:, : which.shape[1]][which], np.ceil(begin - 1e-6)
        for step in range(math.ceil(JUMP) + 2):
            at = low + step
            inside = (at <= end + 1e-6) & (at >= 0) & (at < width)
            share = (at - begin) / np.maximum(end - begin, 1e-6)
            value = first + share.clip(0, 1) * (last - first)
            np.maximum.at(found, (rows[inside], at[inside].astype(int)), value[inside])
        return found

    joined = np.abs(np.diff(disparity, axis=1)) < JUMP  # beside an unknown pixel nothing is
    joined &= place[:, :-1] <= place[:, 1:]  # else the surface is seen from behind, which it is not
    surface = cover(
        joined,
        place[:, :-1][joined],
        place[:, 1:][joined],
        disparity[:, :-1][joined],
        disparity[:, 1:][joined],
    )
    own = disparity[known]
    single = cover(known, place[known] - 0.5, place[known] + 0.5, own, own)
    found = np.where(single > surface + JUMP, single, surface)  # also where there is no surface
    return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """Parts of the right photo, (H, W) bool.

    seen: a left pixel lands there. uncovered: none does, nor could one of unknown disparity. valid: both together.
    The rest is left out: what unknown pixels may cover, and what lies beyond the left photo's right border.
    """

    seen: Array
    uncovered: Array

    @property
    def valid(self) -> Array:
        """Everything that is measured."""
        return self.seen | self.uncovered


def regions(pair: Pair) -> Regions:
    """What the right camera sees of the left photo, and what that photo hides."""
    disparity = pair.disparity
    width = disparity.shape[1]
    one, two = next_known(disparity)
    seen = np.isfinite(seen_from_right(disparity))
    # An unknown pixel may belong to the surface on either side of it.
    maybe = np.zeros_like(seen)
    for guess in (one, two):
        maybe |= np.isfinite(seen_from_right(np.where(np.isfinite(disparity), disparity, guess)))
    border = width - 1 - two[:, -1:]  # where the last column lands
    inside = np.arange(width) <= border
    return Regions(seen=seen & inside, uncovered=~seen & ~maybe & inside)


def warped(photo: Array, seen: Array, order: int = 1) -> Array:
    """The left photo (H, W, 3) at the right camera, float64, by `seen_from_right`.

    order: of the spline between columns, 1 linear, 3 cubic.
    """
    from scipy.ndimage import map_coordinates

    height, width = seen.shape
    row, column = np.mgrid[:height, :width].astype(np.float64)
    at = [row, column + np.nan_to_num(seen)]
    channels = [
        map_coordinates(c.astype(np.float64), at, order=order, mode="nearest")
        for c in photo.transpose(2, 0, 1)
    ]
    return np.stack(channels, -1)
