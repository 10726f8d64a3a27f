"""Ways of a camera through a 3D photo: short, smooth, and back where they began."""

from __future__ import annotations

from typing import Final

import numpy as np

from kinema.errors import UserError
from kinema.systems.photo_3d.camera import Array
from kinema.systems.photo_3d.viewing import View

PATHS: Final = ("circle", "dolly", "swing")


def camera_path(name: str, num_frames: int, view: View) -> Array:
    """Positions (num_frames, 3) in glTF axes of one closed round; the frame after the last would be the first.

    circle: around the capture pose, sideways and up. dolly: forward and back. swing: from side to side, nearing a
    little in the middle. No position is farther from the capture pose than the view allows. Raises UserError for an
    unknown name or no frames.
    """
    if name not in PATHS:
        raise UserError(f"there is no camera path '{name}': choose one of {', '.join(PATHS)}")
    if num_frames < 1:
        raise UserError(f"a camera path of {num_frames} frames was asked for: expected 1 or more")
    t = np.arange(num_frames) * (2 * np.pi / num_frames)
    still = np.zeros(num_frames)
    if name == "circle":
        way = np.stack([np.cos(t), 0.6 * np.sin(t), still], -1)
    elif name == "dolly":
        way = np.stack([still, still, 0.5 * (np.cos(t) - 1)], -1)
    else:
        way = np.stack([np.sin(t), still, -0.3 * np.cos(t) ** 2], -1)
    return way * (view.reach, view.upward, view.reach)
