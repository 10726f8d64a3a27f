"""The voices of creatures, one recipe for each family; pitch and rhythm are the individual's own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kinema.world import atlas
from kinema.world.scene import Actor
from kinema.world.sound.events import voice_length, voice_random
from kinema.world.sound.signal import (
    BAND_CENTRES,
    Signal,
    add_at,
    looped,
    noise_bands,
    oscillate,
    partials,
    period,
    swell,
    wobble,
)


def _ramp(*points: float, samples: int) -> Signal:
    """A curve through evenly spaced points."""
    at = np.linspace(0, len(points) - 1, samples)
    return np.interp(at, np.arange(len(points)), points).astype(np.float32)


def _formants(
    pitch: float, peaks: list[tuple[float, float, float]], slope: float, top: float
) -> NDArray[np.float64]:
    """Levels of a voice's harmonics: resonances (Hz, width in octaves, level) over a falling source spectrum."""
    hertz = pitch * np.arange(1, max(int(top / pitch), 2) + 1)
    mouth = sum(level * np.exp(-0.5 * (np.log2(hertz / at) / width) ** 2) for at, width, level in peaks)
    return (0.04 + mouth) * (hertz / pitch) ** -slope


def _breath(low: float, high: float, samples: int, rate: int, offset: int) -> Signal:
    """Noise between two frequencies (Hz), of about unit power."""
    chosen = [
        looped(n, offset, samples)
        for n, c in zip(noise_bands(rate), BAND_CENTRES)
        if low <= c <= high and n.any()
    ]
    total: Signal = np.sum(chosen, axis=0, dtype=np.float32)
    return total / np.float32(math.sqrt(max(len(chosen), 1)))


def _mammal(length: float, rate: int, rng: random.Random) -> Signal:
    """A growl: a low, rough, throaty tone that falls."""
    samples = round(length * rate)
    pitch = 78 * 2 ** rng.uniform(0, 1.5)
    rough = rng.uniform(24, 38)
    open_at = rng.uniform(420, 700)
    hertz = pitch * _ramp(0.95, 1.12, 1.0, 0.78, samples=samples)
    throat = [(open_at, 0.35, 1.0), (2.3 * open_at, 0.3, 0.5), (pitch * 1.5, 0.6, 0.8)]
    levels = _formants(pitch, throat, 0.35, 3600)
    growl = 0.62 + 0.38 * wobble(rough, samples, rate)
    out = oscillate(period(levels), hertz, rate) * growl
    out += 0.05 * _breath(400, 2000, samples, rate, rng.randrange(4 * rate))
    return out * swell(samples, rate, 0.012, 0.4 * length)


def _bird(length: float, rate: int, rng: random.Random) -> Signal:
    """Chirps: a few quick whistled sweeps, high and pure."""
    out = np.zeros(round(length * rate), np.float32)
    pitch = 2300 * 2 ** rng.uniform(0, 0.95)
    count = 2 + rng.randrange(3)
    bent = rng.choice([(1.0, 1.45, 1.1), (1.5, 0.95), (0.9, 1.35), (1.3, 1.0, 1.4)])
    each = length / count
    wave = period([1.0, 0.18, 0.05])
    for k in range(count):
        samples = round(0.72 * each * rate)
        hertz = pitch * (1 + 0.06 * k) * _ramp(*bent, samples=samples)
        add_at(out, oscillate(wave, hertz, rate) * swell(samples, rate, 0.006, 0.02), k * each, rate)
    return out


def _reptile(length: float, rate: int, rng: random.Random) -> Signal:
    """A croak: pulses of a hollow throat, over a hiss."""
    out = np.zeros(round(length * rate), np.float32)
    throat = 420 * 2 ** rng.uniform(0, 0.9)
    gap = 1 / rng.uniform(26, 44)
    tones = [throat, 1.9 * throat, 3.1 * throat]
    pulse = partials(tones, [0.012, 0.008, 0.005], [1, 0.55, 0.3], round(0.06 * rate), rate)
    for k in range(int((length - 0.05) / gap)):
        add_at(out, pulse, k * gap * (1 + 0.006 * k), rate, 0.9 + 0.1 * math.cos(k))
    hiss = _breath(3500, 8000, len(out), rate, rng.randrange(4 * rate))
    out += 0.06 * hiss
    return out * swell(len(out), rate, 0.004, 0.3 * length)


def _insect(length: float, rate: int, rng: random.Random) -> Signal:
    """A buzz: a steady bright drone of wings that quivers."""
    samples = round(length * rate)
    pitch = 165 * 2 ** rng.uniform(0, 1.1)
    beat = rng.uniform(11, 19)
    quiver = wobble(beat, samples, rate)
    levels = _formants(pitch, [(2600, 0.9, 1.0), (5200, 0.5, 0.8)], 0.0, 7800)
    out = oscillate(period(levels), pitch * (1 + 0.035 * quiver), rate) * (0.8 + 0.2 * quiver)
    return out * swell(samples, rate, 0.015, 0.09)


def _sea_animal(length: float, rate: int, rng: random.Random) -> Signal:
    """A song under water: a pure tone that glides far, with bubbles and an echo."""
    samples = round(length * rate)
    pitch = 330 * 2 ** rng.uniform(0, 1.0)
    bent = rng.choice([(1.0, 1.9, 1.5), (1.8, 0.9, 1.3), (0.8, 1.6, 2.1)])
    song = oscillate(period([1.0, 0.12]), pitch * _ramp(*bent, samples=samples), rate)
    out = song * swell(samples, rate, 0.012, 0.12)
    for k in range(3):
        size = round(0.05 * rate)
        rising = pitch * 2.4 * (1 + 0.2 * k) * _ramp(0.8, 1.5, samples=size)
        bubble = oscillate(period([1.0]), rising, rate) * swell(size, rate, 0.004, 0.035)
        add_at(out, bubble, (0.25 + 0.2 * k) * length, rate, 0.35)
    echo = out[: round(0.7 * samples)] * swell(round(0.7 * samples), rate, 0.0, 0.1)
    add_at(out, echo, 0.085, rate, 0.3)
    return out * swell(samples, rate, 0.0, 0.05)


def _face(length: float, rate: int, rng: random.Random) -> Signal:
    """A laugh: two or three voiced syllables, each with its puff of breath."""
    out = np.zeros(round(length * rate), np.float32)
    pitch = 175 * 2 ** rng.uniform(0, 1.0)
    count = 2 + rng.randrange(2)
    vowel = rng.choice([(730, 1090, 2440), (500, 1850, 2480), (570, 840, 2410), (300, 2240, 3010)])
    levels = _formants(pitch, [(vowel[0], 0.16, 1.0), (vowel[1], 0.12, 0.6), (vowel[2], 0.1, 0.3)], 0.5, 4200)
    wave, each = period(levels), length / count
    for k in range(count):
        samples = round(0.8 * each * rate)
        hertz = pitch * (1.08 - 0.06 * k) * _ramp(0.95, 1.1, 0.9, samples=samples)
        syllable = oscillate(wave, hertz, rate) * swell(samples, rate, 0.01, 0.5 * each)
        puff = _breath(1000, 4000, round(0.04 * rate), rate, rng.randrange(4 * rate))
        syllable[: len(puff)] += 0.1 * puff * np.linspace(1, 0, len(puff), dtype=np.float32)
        add_at(out, syllable, k * each, rate)
    return out


VOICES: dict[str, Callable[[float, int, random.Random], Signal]] = {
    "mammal": _mammal,
    "bird": _bird,
    "reptile": _reptile,
    "insect": _insect,
    "sea animal": _sea_animal,
    "face": _face,
}


@lru_cache(maxsize=256)
def _voice(artwork: int, family: str, length: float, rate: int) -> Signal:
    rng = random.Random(f"call:{atlas.artworks()[artwork].name}")
    out = VOICES[family](length, rate, rng)
    out = out / max(float(np.abs(out).max()), 1e-9)
    out.flags.writeable = False
    return out


def call(actor: Actor, rate: int) -> Signal:
    """One call of a creature, peak 1: always the same for the same individual. Read-only: it is shared."""
    return _voice(actor.artwork, actor.family, voice_length(actor), rate)


@lru_cache(maxsize=64)
def _tone(kind: str, hertz: float, length: float, rate: int) -> Signal:
    samples = round(length * rate)
    if kind == "winds":
        levels = 1 / np.arange(1, 12) ** 0.9
        sung = oscillate(period(levels), hertz * (1 + 0.006 * wobble(5.5, samples, rate)), rate)
        out = sung * swell(samples, rate, 0.02, 0.12)
    elif kind == "drums":
        ratios, decays = [1, 1.59, 2.14, 2.65, 2.92], [0.2, 0.12, 0.1, 0.07, 0.06]
        out = partials([hertz / 2.5 * r for r in ratios], decays, [1, 0.7, 0.5, 0.4, 0.3], samples, rate)
        fall = np.exp(-np.arange(samples, dtype=np.float32) / (0.045 * rate))
        out = out + 0.25 * _breath(2000, 8000, samples, rate, 5) * fall
    else:
        harmonics = [float(k) for k in range(1, 13)]
        decays = [0.35 / k**0.6 for k in harmonics]
        out = partials([hertz * k for k in harmonics], decays, [k**-0.8 for k in harmonics], samples, rate)
    out = out * swell(samples, rate, 0.0, 0.06)
    out = out / max(float(np.abs(out).max()), 1e-9)
    out.flags.writeable = False
    return out


_DRUMS = ("drum", "long drum", "maracas")
_WINDS = ("trumpet", "saxophone", "flute", "postal horn", "violin", "accordion")
_STEPS = (0, 2, 4, 7, 9, 12)  # pentatonic: any two notes agree


def note(actor: Actor, chosen: int, rate: int) -> Signal:
    """One note of an instrument, peak 1; `chosen` picks the step of a pentatonic scale. Read-only: it is shared."""
    kind = "drums" if actor.name in _DRUMS else "winds" if actor.name in _WINDS else "strings"
    low = 196 * 2 ** (voice_random(actor).randrange(3) / 2)
    hertz = low * 2 ** (_STEPS[chosen % len(_STEPS)] / 12)
    return _tone(kind, round(hertz, 3), voice_length(actor), rate)
