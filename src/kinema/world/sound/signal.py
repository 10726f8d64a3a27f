"""What every sound is made of: looped noise in bands, decaying partials, oscillators, slow curves.

Signals are float32 NumPy arrays of shape (samples,); a `curve` is one value each CONTROL seconds.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

CONTROL = 0.02  # seconds between two points of a slow curve
LOOP = 4.0  # seconds after which a noise band repeats
BAND_CENTRES = tuple(62.5 * 2 ** (k / 2) for k in range(17))  # half octaves, 62.5 Hz to 16 kHz
_FINE = 256  # samples in one row of the product that sums decaying partials
_TABLE = 4096  # samples in one period of an oscillator


def white(seed: int, samples: int) -> Signal:
    """Uniform noise in [-1, 1) from the generator's raw bits, the part of NumPy's randomness that never changes."""
    bits = np.random.PCG64(seed).random_raw(samples) >> np.uint64(40)
    return (bits.astype(np.float32) / 2**23 - 1).astype(np.float32)


def shaped_noise(seed: int, samples: int, magnitude: NDArray[np.floating]) -> Signal:
    """Noise of unit power whose spectrum follows `magnitude` (samples // 2 + 1,); it loops without a seam."""
    spectrum = np.fft.rfft(white(seed, samples)) * magnitude
    noise = np.fft.irfft(spectrum, samples)
    power = float(np.sqrt(np.mean(noise**2)))
    return (noise / max(power, 1e-12)).astype(np.float32)


def frequencies(samples: int, rate: int) -> NDArray[np.float64]:
    """The frequencies (Hz) of a real transform of that many samples; the first is lifted off zero for logarithms."""
    found = np.asarray(np.fft.rfftfreq(samples, 1 / rate), np.float64)
    found[0] = found[1] / 2
    return found


def band(hertz: NDArray[np.floating], centre: float, octaves: float) -> NDArray[np.float64]:
    """A bell in log frequency about `centre`; `octaves` is its standard deviation."""
    return np.asarray(np.exp(-0.5 * (np.log2(hertz / centre) / octaves) ** 2), np.float64)


@lru_cache(maxsize=4)
def noise_bands(rate: int) -> tuple[Signal, ...]:
    """One looped noise of unit power for each of BAND_CENTRES; those above the rate's reach are silent."""
    samples = round(LOOP * rate)
    hertz = frequencies(samples, rate)
    return tuple(
        shaped_noise(1000 + k, samples, band(hertz, centre, 0.3) * (hertz < 0.49 * rate))
        if centre < 0.45 * rate
        else np.zeros(samples, np.float32)
        for k, centre in enumerate(BAND_CENTRES)
    )


def looped(signal: Signal, offset: int, samples: int) -> Signal:
    """`samples` samples of an endless repetition, from `offset` on."""
    offset %= len(signal)
    if offset + samples <= len(signal):
        return signal[offset : offset + samples]
    head = signal[offset:]
    whole, rest = divmod(samples - len(head), len(signal))
    return np.concatenate([head, *[signal] * whole, signal[:rest]])


def control_times(samples: int, rate: int) -> NDArray[np.float64]:
    """The times (s) at which a curve over `samples` samples is given: one more than it has steps."""
    steps = -(-samples // round(CONTROL * rate))
    return np.asarray(np.arange(steps + 1) * CONTROL, np.float64)


def stretch(curve: NDArray[np.floating], samples: int, rate: int) -> Signal:
    """A curve, joined by straight lines, at every sample."""
    step = round(CONTROL * rate)
    rise = np.arange(step, dtype=np.float32) / step
    values = curve.astype(np.float32)
    lines = values[:-1, None] + (values[1:] - values[:-1])[:, None] * rise
    return lines.astype(np.float32, copy=False).reshape(-1)[:samples]


def moving_noise(
    centre: NDArray[np.floating], octaves: float, samples: int, rate: int, offset: int
) -> Signal:
    """Noise of about unit power in a band whose centre (Hz, a curve) moves."""
    out = np.zeros(samples, np.float32)
    weights = np.stack([band(centre, c, octaves) for c in BAND_CENTRES])
    weights[weights < 0.08] = 0
    weights /= np.sqrt((weights**2).sum(0)) + 1e-9
    for noise, weight in zip(noise_bands(rate), weights):
        if weight.any():
            out += looped(noise, offset, samples) * stretch(weight, samples, rate)
    return out


def partials(hertz: list[float], decay: list[float], level: list[float], samples: int, rate: int) -> Signal:
    """Sum of level * exp(-t / decay) * sin(2 pi hertz t).

    An exponential of a sum is a product of exponentials, so with t = coarse + fine the sum over partials
    is one matrix product and needs hardly any transcendental functions.
    """
    kept = [(f, d, a) for f, d, a in zip(hertz, decay, level) if f < 0.47 * rate]
    if not kept:
        return np.zeros(samples, np.float32)
    f, d, a = (np.asarray(column, np.float64) for column in zip(*kept))
    speed = (-1 / d + 2j * math.pi * f) / rate
    rows = -(-samples // _FINE)
    coarse = np.exp(np.outer(np.arange(rows) * _FINE, speed)) * a  # (rows, partials)
    fine = np.exp(np.outer(speed, np.arange(_FINE)))  # (partials, _FINE)
    coarse32, fine32 = coarse.astype(np.complex64), fine.astype(np.complex64)
    out = coarse32.real @ fine32.imag + coarse32.imag @ fine32.real
    return out.reshape(-1)[:samples]


def period(levels: NDArray[np.floating] | list[float]) -> Signal:
    """One period of a tone with these harmonics (the first is the fundamental), scaled to a peak of 1."""
    k = np.arange(1, len(levels) + 1)
    turn = np.arange(_TABLE) / _TABLE
    # Schroeder's phases keep the crest low, so that many harmonics do not make one loud spike.
    phase = math.pi * k * (k - 1) / len(levels)
    wave = (np.asarray(levels)[:, None] * np.sin(2 * math.pi * np.outer(k, turn) + phase[:, None])).sum(0)
    return (wave / max(float(np.abs(wave).max()), 1e-9)).astype(np.float32)


def oscillate(wave: Signal, hertz: Signal, rate: int) -> Signal:
    """Play one period at a frequency (Hz at every sample)."""
    phase = np.cumsum(hertz, dtype=np.float64) / rate
    return wave[((phase % 1.0) * len(wave)).astype(np.int32) % len(wave)]


def wobble(hertz: float, samples: int, rate: int) -> Signal:
    """A plain sine of peak 1."""
    time = np.arange(samples, dtype=np.float32) / rate
    return np.sin(2 * math.pi * hertz * time).astype(np.float32, copy=False)


def swell(samples: int, rate: int, attack: float, release: float) -> Signal:
    """1 with raised-cosine edges of `attack` and `release` seconds."""
    shape = np.ones(samples, np.float32)
    up, down = min(round(attack * rate), samples), min(round(release * rate), samples)
    if up:
        shape[:up] *= 0.5 - 0.5 * np.cos(math.pi * (np.arange(up, dtype=np.float32) + 0.5) / up)
    if down:
        turn = (np.arange(down, dtype=np.float32) + 0.5) / down
        shape[samples - down :] *= 0.5 + 0.5 * np.cos(math.pi * turn)
    return shape


def add_at(track: Signal, sound: Signal, time: float, rate: int, gain: float = 1.0) -> None:
    """Mix a sound into a track at a time (s), in place; what falls outside is dropped."""
    start = round(time * rate)
    skip = max(-start, 0)
    length = min(len(sound) - skip, len(track) - start - skip)
    if length > 0:
        track[start + skip : start + skip + length] += gain * sound[skip : skip + length]


def decibels(level: float) -> float:
    """A level in dB relative to full scale as a factor."""
    return 10 ** (level / 20)
