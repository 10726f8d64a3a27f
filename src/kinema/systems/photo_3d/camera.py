"""The virtual camera: a pinhole, and what disparity means in front of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.errors import UserError

Array = npt.NDArray[Any]

FIELD_OF_VIEW = 60.0  # degrees, across the photo's width


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at the origin that looks down -Z, x to the right and y up, as glTF has it.

    width, height: the photo in pixels; pixel (i, j) covers [i, i + 1] x [j, j + 1], its centre at + 0.5.
    field_of_view: degrees across the width.
    near, far: depth at disparity 1 and 0; between them 1/z is linear in disparity. They have no unit.
    """

    width: int
    height: int
    field_of_view: float = FIELD_OF_VIEW
    near: float = 1.0
    far: float = 5.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise UserError(f"the camera's photo is {self.width}x{self.height} pixels: expected 1x1 or more")
        if not 1 <= self.field_of_view <= 170:
            raise UserError(f"the field of view is {self.field_of_view:g} degrees: expected 1 to 170")
        if not (0 < self.near < self.far and math.isfinite(self.far)):
            raise UserError(f"depth runs from {self.near:g} to {self.far:g}: expected 0 < near < far")

    @property
    def focal(self) -> float:
        """Focal length in pixels of the photo."""
        return self.width / 2 / math.tan(math.radians(self.field_of_view) / 2)

    def inverse_depth(self, disparity: npt.ArrayLike) -> Array:
        """1/z of disparity in [0, 1], same shape: 1/z = 1/far + disparity * (1/near - 1/far)."""
        values = np.asarray(disparity)
        return values * (1 / self.near - 1 / self.far) + 1 / self.far

    def depth(self, disparity: npt.ArrayLike) -> Array:
        """Depth z along the optical axis, in [near, far], of disparity in [0, 1]."""
        return 1 / self.inverse_depth(disparity)

    def unproject(self, x: npt.ArrayLike, y: npt.ArrayLike, disparity: npt.ArrayLike) -> Array:
        """Points (N, 3) in glTF axes of photo positions x, y (N,) in pixels and their disparity (N,)."""
        z = self.depth(disparity)
        across = (np.asarray(x) - self.width / 2) / self.focal * z
        down = (np.asarray(y) - self.height / 2) / self.focal * z
        return np.stack([across, -down, -z], axis=-1)

    def project(
        self, points: npt.ArrayLike, position: npt.ArrayLike = (0.0, 0.0, 0.0)
    ) -> tuple[Array, Array]:
        """Photo positions (N, 2) in pixels and depths (N,) of points (N, 3), seen from `position`."""
        seen = np.asarray(points) - np.asarray(position)
        z = -seen[..., 2]
        x = self.width / 2 + self.focal * seen[..., 0] / z
        y = self.height / 2 - self.focal * seen[..., 1] / z
        return np.stack([x, y], axis=-1), z
