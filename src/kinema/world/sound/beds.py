"""The place that one hears: a quiet bed for each background, a looped texture and what happens in it now and then."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kinema.world.sound.signal import (
    Signal,
    add_at,
    band,
    decibels,
    frequencies,
    looped,
    oscillate,
    partials,
    period,
    shaped_noise,
    swell,
)

LEVEL = decibels(-38)  # of the texture, root mean square
_LOOP = 8  # seconds of texture; whole, so that whole-numbered rates of modulation close

Spectrum = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def _noise(seed: int, rate: int, spectrum: Spectrum) -> Signal:
    samples = _LOOP * rate
    hertz = frequencies(samples, rate)
    return shaped_noise(seed, samples, spectrum(hertz) * (hertz < 0.49 * rate))


def _slow(seed: int, rate: int, hertz: float, depth: float) -> Signal:
    """A random gain about 1 that wanders no faster than `hertz`, and closes into a loop."""
    samples = _LOOP * 100
    wander = shaped_noise(seed, samples, band(frequencies(samples, 100), hertz, 0.5))
    points = np.maximum(1 + depth * wander, 0.08)
    at = np.arange(_LOOP * rate) * (100 / rate)
    return np.interp(at, np.arange(samples + 1), np.append(points, points[0])).astype(np.float32)


def _wave(rate: int, hertz: float, power: float = 1.0) -> Signal:
    """A gain from 0 to 1 that comes `hertz` times a second."""
    cycles = round(hertz * _LOOP)
    turn = np.arange(_LOOP * rate, dtype=np.float32) * np.float32(2 * math.pi * cycles / (_LOOP * rate))
    return (0.5 - 0.5 * np.cos(turn)) ** power


def _crickets(rate: int, hertz: float, pulses: float, songs: float, share: float) -> Signal:
    """Trains of `pulses` a second at a pitch, sung `songs` times a second for a `share` of the time."""
    time = np.arange(_LOOP * rate, dtype=np.float64) / rate
    tone = np.sin(2 * math.pi * round(hertz) * time).astype(np.float32)
    sung = np.clip((share - (time * songs) % 1.0) * 30, 0, 1) * np.clip(((time * songs) % 1.0) * 30, 0, 1)
    return tone * _wave(rate, pulses, 1.5) * sung.astype(np.float32)


def _meadow(rate: int) -> Signal:
    return _noise(1, rate, lambda f: band(f, 420, 0.9)) * _slow(2, rate, 0.6, 0.35)


def _night_sky(rate: int) -> Signal:
    song = 2.2 * _crickets(rate, 4480, 28, 1.5, 0.42) + 1.3 * _crickets(rate, 4050, 25, 1.25, 0.36)
    return song + 0.18 * _noise(3, rate, lambda f: band(f, 160, 1.0))


def _beach(rate: int) -> Signal:
    surge = _wave(rate, 0.375, 1.6)
    return _noise(4, rate, lambda f: band(f, 1400, 1.9)) * (0.3 + 0.9 * surge)


def _snow(rate: int) -> Signal:
    low = _noise(5, rate, lambda f: band(f, 1250, 0.1)) * _slow(6, rate, 0.9, 0.5)
    high = _noise(7, rate, lambda f: band(f, 1800, 0.09)) * _slow(8, rate, 0.7, 0.5)
    return low + 0.8 * high


def _desert(rate: int) -> Signal:
    gusts = _noise(9, rate, lambda f: band(f, 190, 0.45)) * _slow(10, rate, 0.8, 0.5)
    sand = _noise(11, rate, lambda f: band(f, 6800, 0.35)) * _slow(12, rate, 1.2, 0.5)
    return gusts + 0.4 * sand


def _city(rate: int) -> Signal:
    rumble = _noise(13, rate, lambda f: band(f, 85, 0.6))
    tyres = _noise(14, rate, lambda f: band(f, 900, 0.7)) * _slow(15, rate, 0.4, 0.5)
    return rumble + 0.45 * tyres


def _forest(rate: int) -> Signal:
    rustle = _noise(16, rate, lambda f: band(f, 4600, 0.6))
    return rustle * _slow(17, rate, 7.0, 0.45) * _slow(18, rate, 0.7, 0.3)


def _room(rate: int) -> Signal:
    time = np.arange(_LOOP * rate, dtype=np.float64) / rate
    hum = sum(a * np.sin(2 * math.pi * f * time) for f, a in ((60, 1.0), (120, 0.8), (180, 0.3), (240, 0.35)))
    return np.asarray(hum, np.float32) + 0.25 * _noise(19, rate, lambda f: (f / 100) ** -0.9)


def _sunset(rate: int) -> Signal:
    trill = 1.6 * _crickets(rate, 2650, 33, 0.125, 1.1) + 1.1 * _crickets(rate, 2980, 29, 0.125, 1.1)
    return trill + 0.5 * _noise(20, rate, lambda f: band(f, 300, 0.8)) * _slow(21, rate, 0.5, 0.3)


def _underwater(rate: int) -> Signal:
    deep = _noise(22, rate, lambda f: band(f, 130, 0.7))
    return deep + 0.3 * _noise(23, rate, lambda f: band(f, 480, 0.35))


BED_SOUNDS: dict[str, Callable[[int], Signal]] = {
    "meadow": _meadow,
    "night sky": _night_sky,
    "beach": _beach,
    "snow": _snow,
    "desert": _desert,
    "city": _city,
    "forest": _forest,
    "room": _room,
    "sunset": _sunset,
    "underwater": _underwater,
}


@lru_cache(maxsize=24)
def texture(background: str, rate: int) -> Signal:
    """Eight seconds of a background's texture at LEVEL; it loops without a seam. Read-only: it is shared."""
    raw = BED_SOUNDS[background](rate)
    out = (raw * (LEVEL / float(np.sqrt(np.mean(raw**2))))).astype(np.float32)
    out.flags.writeable = False
    return out


def _glide(start: float, end: float, length: float, rate: int) -> Signal:
    samples = round(length * rate)
    hertz = np.linspace(start, end, samples, dtype=np.float32)
    return oscillate(period([1.0, 0.08]), hertz, rate) * swell(samples, rate, 0.25 * length, 0.5 * length)


def _far_birds(track: Signal, rate: int, rng: random.Random) -> None:
    time = rng.uniform(-0.3, 0.4)
    while time < len(track) / rate:
        pitch = rng.uniform(3800, 5600)
        for k in range(rng.choice((2, 3, 4))):
            chirp = _glide(pitch, pitch * rng.uniform(0.75, 1.2), 0.07, rate)
            add_at(track, chirp, time + 0.09 * k, rate, 1.6 * LEVEL)
        time += rng.uniform(0.5, 0.9)


def _horns(track: Signal, rate: int, rng: random.Random) -> None:
    samples = round(rng.uniform(0.3, 0.5) * rate)
    pitch = rng.uniform(330, 420)
    horn = sum(
        oscillate(period([1, 0.7, 0.5, 0.3]), np.full(samples, f, np.float32), rate)
        for f in (pitch, 1.26 * pitch)
    )
    add_at(track, horn * swell(samples, rate, 0.05, 0.12), rng.uniform(0.1, 1.2), rate, 0.6 * LEVEL)


def _clock(track: Signal, rate: int, rng: random.Random) -> None:
    tick = partials([2350, 3900, 5600], [0.006, 0.005, 0.004], [1, 0.8, 0.5], round(0.04 * rate), rate)
    time, high = rng.uniform(0, 0.5), True
    while time < len(track) / rate:
        add_at(track, tick, time, rate, (1.5 if high else 1.0) * LEVEL)
        time, high = time + 0.5, not high


def _bubbles(track: Signal, rate: int, rng: random.Random) -> None:
    time = rng.uniform(0, 0.2)
    while time < len(track) / rate:
        pitch = rng.uniform(350, 800)
        for k in range(rng.choice((1, 2, 3, 4))):
            add_at(track, _glide(pitch, pitch * 1.6, 0.05, rate), time + 0.06 * k, rate, 1.5 * LEVEL)
            pitch *= rng.uniform(0.85, 1.25)
        time += rng.uniform(0.25, 0.5)


_HAPPENINGS: dict[str, Callable[[Signal, int, random.Random], None]] = {
    "meadow": _far_birds,
    "city": _horns,
    "room": _clock,
    "underwater": _bubbles,
}


def bed(background: str, samples: int, rate: int, rng: random.Random) -> Signal:
    """A background's bed, from a place in its texture that `rng` chooses: (samples,)."""
    track = looped(texture(background, rate), rng.randrange(_LOOP * rate), samples).copy()
    if background in _HAPPENINGS:
        _HAPPENINGS[background](track, rate, rng)
    return track
