"""How far a viewer may move before a 3D photo, and what stays where it is meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.systems.photo_3d.camera import Array, Camera

REACH = 0.035  # how far the viewer moves, of the median depth
OVERSCAN = 1.06  # a photo is shown so much larger than the screen, so that its rim stays out of sight
SAFE = 0.9  # of the margin is used; the mesh's rim is not exactly where the pixels are


@dataclass(frozen=True, kw_only=True)
class View:
    """What a viewer may do: move by `reach` to each side, in units of depth, and by `upward` up and down.

    The picture is seen as through a window: what lies at `still_depth` stays where it is on the screen (the frustum is
    sheared), what is nearer moves against the viewer, what is farther with him.
    """

    reach: float
    upward: float
    still_depth: float

    def position(self, x: float, y: float, z: float = 0.0) -> tuple[float, float, float]:
        """The camera's place in glTF axes for x, y and z in [-1, 1]."""
        return x * self.reach, y * self.upward, z * self.reach


def find_view(disparity: Array, camera: Camera) -> View:
    """How far one may move before a photo of this disparity (H, W) in [0, 1].

    To each side by REACH of the median depth, which stays still; less, and with another depth that stays still, where
    otherwise the photo's rim would come into sight.
    """
    inverse = camera.inverse_depth(disparity.astype(np.float64))
    median = float(np.median(inverse))
    rim = np.concatenate([inverse[0], inverse[-1], inverse[:, 0], inverse[:, -1]])
    low, high = float(rim.min()), float(rim.max())
    margin = (1 - 1 / OVERSCAN) / 2
    across, down = (side * SAFE * margin / camera.focal for side in (camera.width, camera.height))
    reach = min(REACH / median, 2 * across / max(high - low, 1e-9))
    upward = min(reach, 2 * down / max(high - low, 1e-9))
    # The rim moves by reach * |1/depth - 1/still depth|: as near to the median as that allows.
    slack = min(across / reach, down / upward)
    still = max(high - slack, min(median, low + slack))
    return View(reach=reach, upward=upward, still_depth=1 / still)


def parallax(view: View, camera: Camera) -> float:
    """Pixels of the photo by which the nearest moves against the farthest at full travel."""
    return camera.focal * view.reach * (1 / camera.near - 1 / camera.far)
