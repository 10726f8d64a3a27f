"""A log-mel picture of a sound, equal at every sampling rate from 16 kHz up."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from kinema.errors import UserError

HOP = 0.005  # seconds between frames
WINDOW = 0.024  # seconds that a frame looks at
BANDS = 64
LOW, HIGH = 40.0, 7800.0  # Hz
FLOOR = -90.0  # dB


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


@lru_cache(maxsize=8)
def filters(bins: int, spacing: float, bands: int = BANDS) -> torch.Tensor:
    """Triangles of at least one bin's width, evenly spaced in mel: (bands, bins); each sums the power it covers."""
    edges = torch.linspace(_mel(LOW), _mel(HIGH), bands + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    centres = torch.arange(bins, dtype=torch.float64) * spacing
    low, mid, high = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    rise = (centres - low) / torch.clamp(mid - low, min=spacing)
    fall = (high - centres) / torch.clamp(high - mid, min=spacing)
    triangles = torch.clamp(torch.minimum(1 - torch.clamp(1 - rise, min=0), fall), min=0)
    # Below a few hundred hertz a triangle is narrower than a bin: it takes the nearest bins by distance instead.
    near = torch.clamp(1 - (centres - mid).abs() / spacing, min=0)
    narrow = (high - low) < 2 * spacing
    return torch.where(narrow, near, triangles).float()


def log_mel(sound: torch.Tensor, rate: int) -> torch.Tensor:
    """Power in mel bands, in dB over full scale: (B, 1, samples) -> (B, BANDS, frames).

    Frame i is centred on sample i * hop, hop = round(HOP * rate); the frames count samples // hop + 1. The window
    lasts the same at every rate and no band reaches over 7.8 kHz, so a clip looks alike at 16 and at 48 kHz.

    Raises:
        UserError: the sound is not (B, 1, samples), or the rate is below 16 kHz.
    """
    if sound.ndim != 3 or sound.shape[1] != 1:
        raise UserError(
            f"the sound has shape {tuple(sound.shape)}; it is (clips, 1, samples): mix it down to mono"
        )
    if rate < 16000:
        raise UserError(f"the rate is {rate} Hz; a log-mel picture needs at least 16000")
    size, hop = round(WINDOW * rate), round(HOP * rate)
    window = torch.hann_window(size, dtype=sound.dtype, device=sound.device)
    padded = torch.nn.functional.pad(sound[:, 0], (size // 2, size // 2))
    # (B, bins, frames)
    spectrum = torch.stft(padded, size, hop, size, window, center=False, return_complex=True)
    bins = min(spectrum.shape[1], round(8000 * WINDOW) + 1)
    power = (spectrum[:, :bins].abs() / (window.sum() / 2)) ** 2
    mel = filters(bins, rate / size).to(power) @ power
    return 10 * torch.log10(torch.clamp(mel, min=10 ** (FLOOR / 10)))
