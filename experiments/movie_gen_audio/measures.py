"""What is measured in waves: jumps of the spectrum at places, the bed's level, and how bright a sound is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kinema.nn import MelSettings, log_mel

HOP, WINDOW = 480, 1920  # samples at 48 kHz: 10 ms and a latent frame
BANDS = 64
FLOOR = 1e-4  # of the magnitude, which keeps silence from counting


def spectrum(sound: Tensor) -> Tensor:
    """(samples,) at 48 kHz -> log10-mel (BANDS, frames of 10 ms)."""
    settings = MelSettings(
        rate=48000, bands=BANDS, window=WINDOW, hop=HOP, fft=2048, power=1.0, log="log10", floor=FLOOR
    )
    return log_mel(sound[None].float(), settings)[0]


def flux(sound: Tensor) -> Tensor:
    """Mean absolute change of the spectrum from 20 ms before to 20 ms after each frame, in dB: (frames,)."""
    bands = spectrum(sound)
    change = 20 * (bands[:, 4:] - bands[:, :-4]).abs().mean(0)
    return torch.nn.functional.pad(change, (2, 2))


def seam(sound: Tensor, places: Sequence[float]) -> float:
    """Flux at places (s) over the median flux of the sound: 1 where nothing shows."""
    change = flux(sound)
    at = [round(place * 48000 / HOP) for place in places]
    near = torch.stack([change[max(i - 1, 0) : i + 2].amax() for i in at]).mean()
    usual = change.unfold(0, 3, 1).amax(1).median()
    return float(near / usual.clamp(min=1e-6))


def loudness(sound: Tensor) -> float:
    """Level in dB of full scale."""
    return float(10 * torch.log10(sound.double().square().mean().clamp(min=1e-12)))


def brightness(sound: Tensor, above: float = 6000.0) -> float:
    """Level in dB of what lies above a frequency, relative to the whole."""
    power = torch.fft.rfft(sound.double()).abs().square()
    hertz = torch.fft.rfftfreq(len(sound), 1 / 48000)
    return float(10 * torch.log10((power[hertz >= above].sum() / power.sum()).clamp(min=1e-12)))


def contrast(sound: Tensor) -> float:
    """Level in dB of the loudest 50 ms over that of the quietest tenth: low where noise fills the pauses."""
    pieces = sound[: len(sound) // 2400 * 2400].view(-1, 2400).double().square().mean(1).clamp(min=1e-12)
    return float(10 * torch.log10(pieces.max() / pieces.quantile(0.1)))
