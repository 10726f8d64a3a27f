"""How close two sounds are: in their waves (SI-SDR) and in what is heard of them (mel distance).

Sounds are (..., N) at the same rate; the last axis is time and every other one stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.nn import MelSettings, log_mel

MEL_BANDS = 80
MEL_WINDOW = 0.0427  # seconds: 2048 samples at 48 kHz, rounded to an even number of samples
MEL_FLOOR = 1e-5  # of the magnitude


def _pair(estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if estimate.shape != reference.shape or estimate.ndim < 1 or estimate.shape[-1] < 2:
        raise UserError(
            f"sounds of shapes {tuple(estimate.shape)} and {tuple(reference.shape)}: expected equal"
            " (..., samples), at least two samples long"
        )
    return estimate.double(), reference.double()


def si_sdr(estimate: Tensor, reference: Tensor, zero_mean: bool = True) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019): (..., N) -> (...).

    Infinite for a scaled copy of the reference; minus infinity for silence, and for what has nothing of it.
    A reference that is silent has no such ratio and gives NaN.
    """
    made, true = _pair(estimate, reference)
    if zero_mean:
        made, true = (x - x.mean(dim=-1, keepdim=True) for x in (made, true))
    energy = true.square().sum(-1)
    scale = (made * true).sum(-1) / energy
    target = scale[..., None] * true
    signal, noise = target.square().sum(-1), (made - target).square().sum(-1)
    ratio = 10 * torch.log10(signal / noise)
    # Silence: nothing is left of the signal, and 0 / 0 would say NaN.
    return torch.where((signal == 0) & (energy > 0), -torch.inf, ratio).float()


def mel_settings(rate: int) -> MelSettings:
    """What `mel_distance` looks at: 80 of Slaney's bands over magnitudes, log10 from 1e-5 up."""
    window = 2 * round(MEL_WINDOW * rate / 2)
    return MelSettings(
        rate=rate, bands=MEL_BANDS, window=window, hop=window // 4, fft=2 ** (window - 1).bit_length(),
        power=1.0, log="log10", floor=MEL_FLOOR,
    )  # fmt: skip


def mel_distance(estimate: Tensor, reference: Tensor, rate: int) -> Tensor:
    """Mean absolute difference of log10-mel spectra, times 20 and so in dB: (..., N) -> (...).

    Raises UserError for sounds shorter than half a window (22 ms).
    """
    made, true = _pair(estimate, reference)
    settings = mel_settings(rate)
    if made.shape[-1] <= settings.window // 2:
        raise UserError(
            f"the sounds have {made.shape[-1]} samples and a mel spectrum at {rate} Hz needs more than"
            f" {settings.window // 2}: pass longer ones"
        )
    difference = log_mel(made.float(), settings) - log_mel(true.float(), settings)
    return 20 * difference.abs().mean((-2, -1))
