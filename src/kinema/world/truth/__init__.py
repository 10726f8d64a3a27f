"""Ground truth of the Small World, from the renderer's own geometry: exact at every pixel, at any size and rate.

Every function takes scenes and the same `num_frames, height, width, fps` as `kinema.world.renderer`, so its maps lie on
the rendered frames pixel by pixel.
"""

from __future__ import annotations

from kinema.world.truth.depth import CAMERA_HEIGHT, FAR, FOCAL, depth
from kinema.world.truth.flow import Flow, optical_flow
from kinema.world.truth.imu import Imu, ImuNoise, imu
from kinema.world.truth.layers import Layers, layers, masks, sign_masks
from kinema.world.truth.stereo import Calibration, StereoPair, stereo
from kinema.world.truth.thermal import temperature, thermal

__all__ = [
    "CAMERA_HEIGHT",
    "FAR",
    "FOCAL",
    "Calibration",
    "Flow",
    "Imu",
    "ImuNoise",
    "Layers",
    "StereoPair",
    "depth",
    "imu",
    "layers",
    "masks",
    "optical_flow",
    "sign_masks",
    "stereo",
    "temperature",
    "thermal",
]
