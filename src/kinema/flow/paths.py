"""The straight path of flow matching between noise (t=0) and data (t=1): Movie Gen, Eqs. 1-2."""

from __future__ import annotations

from torch import Tensor

SIGMA_MIN = 1e-5


def over_batch(t: Tensor, x: Tensor) -> Tensor:
    """Times (B,) shaped to broadcast over a batch x (B, ...), in the dtype of x."""
    return t.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def interpolate(noise: Tensor, data: Tensor, t: Tensor, sigma_min: float = SIGMA_MIN) -> Tensor:
    """The point at time t (B,): t * data + (1 - (1 - sigma_min) t) * noise, shape of data (B, ...)."""
    time = over_batch(t, data)
    return time * data + (1 - (1 - sigma_min) * time) * noise


def velocity_target(noise: Tensor, data: Tensor, sigma_min: float = SIGMA_MIN) -> Tensor:
    """The derivative of `interpolate` by t, which a network learns: data - (1 - sigma_min) * noise."""
    return data - (1 - sigma_min) * noise


def data_from_velocity(x: Tensor, velocity: Tensor, t: Tensor, sigma_min: float = SIGMA_MIN) -> Tensor:
    """The data that a point x at time t (B,) and its velocity speak of (exact for the true velocity)."""
    shrink = 1 - sigma_min
    return shrink * x + (1 - shrink * over_batch(t, x)) * velocity


def noise_from_velocity(x: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """The noise that a point x at time t (B,) and its velocity speak of: x - t * velocity."""
    return x - over_batch(t, x) * velocity
