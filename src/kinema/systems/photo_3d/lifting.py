"""A photo and its disparity become a layered image: clean-up, links, discontinuities, and surfaces grown behind them.

Section 4.2 of 2008.12298; what the paper leaves open is said at each function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.errors import UserError
from kinema.systems.photo_3d.clean import sharpened, without_specks
from kinema.systems.photo_3d.curves import broken_links, find_curves
from kinema.systems.photo_3d.growing import grow
from kinema.systems.photo_3d.layered import DOWN, LEFT, RIGHT, UP, LayeredImage, lattice_links


@dataclass(frozen=True, kw_only=True)
class LiftSettings:
    """How a photo is lifted; distances are in pixels of the lattice, disparities in units of the photo's range.

    long_side: the lattice's longer side where the photo's is longer; None takes the photo's own.
    tau: neighbours further apart in disparity are not linked. steps: pixels by which hidden surfaces grow.
    """

    long_side: int | None = None
    tau: float = 0.05
    sigma: float = 0.2  # of the weighted median, in disparity
    sharpen_passes: int = 3
    smallest_part: int = 20
    shortest_curve: int = 20
    steps: int = 50
    smoothing: int = 8

    def __post_init__(self) -> None:
        if self.long_side is not None and self.long_side < 2:
            raise UserError(
                f"long_side={self.long_side} must be at least 2, or None for the photo's own size"
            )
        if not 0.0 < self.tau < 1.0 or self.sigma <= 0.0:
            raise UserError(f"tau={self.tau} must lie between 0 and 1, and sigma={self.sigma} above 0")
        for name in ("sharpen_passes", "smallest_part", "shortest_curve", "steps", "smoothing"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)} must not be negative")


def lift(photo: np.ndarray, disparity: np.ndarray, settings: LiftSettings = LiftSettings()) -> LayeredImage:
    """Lift a photo (H, W, 3) uint8 by its disparity (H, W) in [0, 1], 1 nearest.

    The capture pose shows the photo unchanged (on the lattice's own size). Raises UserError for arrays that do not fit
    each other, or for disparities that are not numbers in [0, 1].
    """
    _check(photo, disparity)
    photo, disparity = _on_lattice(photo, np.asarray(disparity, np.float32), settings.long_side)
    height, width = disparity.shape
    disparity = sharpened(disparity, settings.sigma, settings.tau, settings.sharpen_passes)
    disparity = without_specks(disparity, settings.tau, settings.smallest_part)
    broken = broken_links(disparity, settings.tau)
    curves = find_curves(disparity, broken, settings.shortest_curve)
    links = lattice_links(height, width)
    right, down = np.flatnonzero(broken[0]), np.flatnonzero(broken[1])
    links[right, RIGHT] = links[right + 1, LEFT] = -1
    links[down, DOWN] = links[down + width, UP] = -1
    place, grown, layer, links = grow(
        disparity, links, curves, settings.tau, settings.steps, settings.smoothing
    )
    places, count = height * width, height * width + len(place)
    y, x = np.divmod(np.arange(places, dtype=np.int32), np.int32(width))
    colour = np.zeros((count, 3), np.float32)
    np.divide(photo.reshape(-1, 3), np.float32(255), out=colour[:places])
    return LayeredImage(
        height=height,
        width=width,
        x=np.concatenate([x, place % width]),
        y=np.concatenate([y, place // width]),
        colour=colour,
        disparity=np.concatenate([disparity.reshape(-1), grown]),
        neighbours=links,
        layer=np.concatenate([np.zeros(places, np.int16), layer]),
        known=np.arange(count) < places,
    )


def _check(photo: np.ndarray, disparity: np.ndarray) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or 0 in photo.shape:
        raise UserError(
            f"the photo is {photo.dtype} of shape {photo.shape}: expected uint8 (height, width, 3), not empty"
        )
    if disparity.shape != photo.shape[:2]:
        raise UserError(
            f"the disparity has shape {disparity.shape} and the photo {photo.shape[:2]}: resize the disparity to the "
            "photo's height and width"
        )
    if not np.isfinite(disparity).all():
        bad = int((~np.isfinite(disparity)).sum())
        raise UserError(f"{bad} of the disparities are not numbers: fill the holes before lifting")
    low, high = float(disparity.min()), float(disparity.max())
    if low < 0.0 or high > 1.0:
        raise UserError(
            f"the disparities run from {low:.3g} to {high:.3g}: normalise them to 0 (farthest) to 1 (nearest)"
        )


def _on_lattice(
    photo: np.ndarray, disparity: np.ndarray, long_side: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Photo and disparity at the lattice's size: areas are averaged, both alike."""
    height, width = disparity.shape
    if long_side is None or max(height, width) <= long_side:
        return photo, disparity
    from PIL import Image

    scale = long_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller = Image.fromarray(photo).resize(size, Image.Resampling.BOX)
    values = Image.fromarray(disparity).resize(size, Image.Resampling.BOX)
    return np.asarray(smaller), np.clip(np.asarray(values, np.float32), 0.0, 1.0)
