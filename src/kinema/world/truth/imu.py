"""What an inertial sensor on the camera would read: pan and tilt are rotations, zoom moves nothing."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.world.motion import view
from kinema.world.scene import Scene
from kinema.world.truth.depth import FOCAL

GRAVITY = 9.80665  # metres per second squared
LEVER = (0.02, 0.0, 0.03)  # metres from the axis of rotation to the sensor: x right, y down, z forward


@dataclass(frozen=True, kw_only=True)
class ImuNoise:
    """A phone's sensor: white noise per root of hertz, constant bias, and how far the bias wanders in a second."""

    gyro_density: float = 1.2e-4  # rad/s per sqrt(Hz)
    gyro_bias: float = 6e-3  # rad/s
    gyro_wander: float = 2e-4  # rad/s per sqrt(s)
    accel_density: float = 1.5e-3  # m/s^2 per sqrt(Hz)
    accel_bias: float = 6e-2  # m/s^2
    accel_wander: float = 2e-3  # m/s^2 per sqrt(s)

    @classmethod
    def none(cls) -> ImuNoise:
        """A perfect sensor."""
        return cls(gyro_density=0, gyro_bias=0, gyro_wander=0, accel_density=0, accel_bias=0, accel_wander=0)


@dataclass(frozen=True)
class Imu:
    """Readings float32 (6, n): angular rate x, y, z in rad/s, then specific force x, y, z in m/s^2.

    Axes of the camera: x right, y down, z forward; rotations by the right-hand rule. At rest and level the
    specific force is (0, -9.81, 0), because the hand holds the camera up.
    """

    readings: Tensor
    rate: float

    @property
    def gyroscope(self) -> Tensor:
        """Angular rate (3, n) in rad/s."""
        return self.readings[:3]

    @property
    def accelerometer(self) -> Tensor:
        """Specific force (3, n) in m/s^2."""
        return self.readings[3:]


def _cross(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float, float]:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def imu(
    scene: Scene, rate: float = 200.0, seconds: float | None = None, noise: ImuNoise | None = None
) -> Imu:
    """The sensor's readings along the camera's path: a pure function of its arguments.

    The panorama is equiangular: a frame height is 1 / FOCAL radians. Reading i is the mean angular rate over
    [i / rate, (i + 1) / rate], so that the readings integrate to the camera's exact angle. Noise is drawn from the
    scene's seed.

    Raises:
        UserError: the rate or the length is not positive.
    """
    seconds = scene.duration if seconds is None else seconds
    if not 1 <= rate <= 1e5 or not 0 < seconds <= 3600:
        raise UserError(
            f"the sensor's rate is {rate} and the length {seconds} s: expected 1 to 100000 readings a second over "
            "at most an hour"
        )
    noise = noise or ImuNoise()
    count = max(1, round(seconds * rate))
    path = [view(scene, i / rate) for i in range(count + 1)]
    rng = random.Random(f"imu:{scene.seed}")
    drift = [rng.gauss(0.0, noise.gyro_bias) for _ in range(3)] + [
        rng.gauss(0.0, noise.accel_bias) for _ in range(3)
    ]
    wander = [noise.gyro_wander / math.sqrt(rate)] * 3 + [noise.accel_wander / math.sqrt(rate)] * 3
    white = [noise.gyro_density * math.sqrt(rate / 2)] * 3 + [noise.accel_density * math.sqrt(rate / 2)] * 3
    rows = []
    for here, after in pairwise(path):
        pitch = (here.y + after.y) / 2 / FOCAL  # down is positive
        spin = (-(after.y - here.y) * rate / FOCAL, (after.x - here.x) * rate / FOCAL, 0.0)
        pull = _cross(spin, _cross(spin, LEVER))  # towards the axis
        truth = (
            *spin,
            pull[0],
            pull[1] - GRAVITY * math.cos(pitch),
            pull[2] - GRAVITY * math.sin(pitch),
        )
        rows.append([t + d + rng.gauss(0.0, w) for t, d, w in zip(truth, drift, white)])
        drift = [d + rng.gauss(0.0, w) for d, w in zip(drift, wander)]
    return Imu(readings=torch.tensor(rows, dtype=torch.float32).T.contiguous(), rate=rate)
