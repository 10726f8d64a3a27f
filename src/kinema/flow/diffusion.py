"""The diffusion path that flow matching is compared with: v-prediction, zero terminal signal-to-noise ratio.

Lin et al., "Common diffusion noise schedules and sample steps are flawed" (2305.08891), algorithm 1;
v-prediction from Salimans and Ho (2202.00512). `signal` below is sqrt(alpha_bar), and sqrt(1 - signal^2)
scales the noise. Time keeps this package's direction: t=0 noise, t=1 data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.flow.paths import over_batch


def zero_terminal_signal(levels: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """sqrt(alpha_bar) of Stable Diffusion's scaled-linear betas, rescaled to end in pure noise.

    Returns (levels,) float64, falling from the cleanest level (unchanged by the rescaling) to exactly 0.
    """
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, levels, dtype=torch.float64).square()
    signal = (1 - betas).cumprod(0).sqrt()
    return (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])


def signal_at(t: Tensor, signal: Tensor) -> Tensor:
    """The signal of the level nearest to times t (B,): t=0 the last (noise), t=1 the first (data)."""
    levels = ((1 - t.double()) * (len(signal) - 1)).round().long()
    return signal.to(t.device)[levels]


def _parts(signal: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    noise_scale = (1 - signal.double().square()).clamp(min=0).sqrt()
    return over_batch(signal, like), over_batch(noise_scale, like)


def interpolate(noise: Tensor, data: Tensor, signal: Tensor) -> Tensor:
    """The noisy sample at signal (B,): signal * data + sqrt(1 - signal^2) * noise."""
    a, s = _parts(signal, data)
    return a * data + s * noise


def v_target(noise: Tensor, data: Tensor, signal: Tensor) -> Tensor:
    """What a v-prediction network learns at signal (B,): signal * noise - sqrt(1 - signal^2) * data."""
    a, s = _parts(signal, data)
    return a * noise - s * data


def data_from_v(x: Tensor, v: Tensor, signal: Tensor) -> Tensor:
    """The data that a noisy sample x and its v speak of: signal * x - sqrt(1 - signal^2) * v."""
    a, s = _parts(signal, x)
    return a * x - s * v


def noise_from_v(x: Tensor, v: Tensor, signal: Tensor) -> Tensor:
    """The noise that a noisy sample x and its v speak of: sqrt(1 - signal^2) * x + signal * v."""
    a, s = _parts(signal, x)
    return s * x + a * v
