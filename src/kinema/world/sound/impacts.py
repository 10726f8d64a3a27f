"""An object hits the ground: modal synthesis, a few decaying partials and a click, by material."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.world.scene import Actor
from kinema.world.sound.events import voice_random
from kinema.world.sound.signal import BAND_CENTRES, Signal, looped, noise_bands, partials


@dataclass(frozen=True, kw_only=True)
class Body:
    """How a material sounds: the lowest partial (Hz, for a size of 0.45), its relatives, and the click."""

    hertz: float
    ratios: tuple[float, ...]
    decays: tuple[float, ...]  # seconds, one for each ratio
    levels: tuple[float, ...]
    click: tuple[float, float]  # band of the click, Hz
    click_decay: float
    click_level: float
    rattle: tuple[float, ...] = ()  # later, weaker clicks (s): grit, or a hollow shell's second contact
    bend: float = 0.0  # how far the pitch starts above where it ends, octaves


BODIES: dict[str, Body] = {
    "soft": Body(
        hertz=72,
        ratios=(1, 1.59, 2.14),
        decays=(0.07, 0.045, 0.03),
        levels=(1, 0.5, 0.25),
        click=(90, 420),
        click_decay=0.022,
        click_level=0.45,
    ),
    "wood": Body(
        hertz=330,
        ratios=(1, 2.57, 4.18, 6.13),
        decays=(0.075, 0.05, 0.03, 0.02),
        levels=(1, 0.6, 0.3, 0.15),
        click=(900, 3000),
        click_decay=0.004,
        click_level=0.35,
    ),
    "metal": Body(
        hertz=410,
        ratios=(1, 1.52, 2.29, 2.76, 3.65, 5.08, 6.73, 8.93, 11.2),
        decays=(0.75, 0.62, 0.55, 0.48, 0.4, 0.3, 0.22, 0.16, 0.12),
        levels=(0.7, 0.8, 1, 0.7, 0.8, 0.6, 0.5, 0.35, 0.25),
        click=(3000, 8000),
        click_decay=0.003,
        click_level=0.3,
    ),
    "glass": Body(
        hertz=1750,
        ratios=(1, 1.83, 2.71, 3.94, 5.4),
        decays=(0.34, 0.24, 0.17, 0.1, 0.06),
        levels=(1, 0.7, 0.5, 0.3, 0.2),
        click=(5600, 13000),
        click_decay=0.002,
        click_level=0.25,
    ),
    "rubber": Body(
        hertz=128,
        ratios=(1, 2, 3),
        decays=(0.17, 0.11, 0.07),
        levels=(1, 0.55, 0.2),
        click=(250, 700),
        click_decay=0.006,
        click_level=0.2,
        bend=0.75,
    ),
    "plastic": Body(
        hertz=760,
        ratios=(1, 1.41, 2.13, 3.3),
        decays=(0.022, 0.018, 0.014, 0.01),
        levels=(1, 0.8, 0.5, 0.4),
        click=(1800, 5600),
        click_decay=0.007,
        click_level=0.55,
        rattle=(0.034, 0.058),
    ),
    "stone": Body(
        hertz=215,
        ratios=(1, 1.73, 2.9, 8.7, 11.3),
        decays=(0.03, 0.022, 0.016, 0.012, 0.01),
        levels=(1, 0.7, 0.5, 0.35, 0.3),
        click=(2000, 11000),
        click_decay=0.013,
        click_level=0.6,
        rattle=(0.021, 0.037, 0.06, 0.081, 0.112, 0.15),
    ),
}


def _click(body: Body, offset: int, rate: int) -> Signal:
    """A burst of noise in the body's band, falling to nothing within eight decay times."""
    samples = max(round(8 * body.click_decay * rate), 8)
    chosen = [
        looped(noise, offset, samples)
        for noise, centre in zip(noise_bands(rate), BAND_CENTRES)
        if body.click[0] <= centre <= body.click[1] and noise.any()
    ]
    if not chosen:
        return np.zeros(samples, np.float32)
    fall = np.exp(-np.arange(samples, dtype=np.float32) / (body.click_decay * rate))
    return np.sum(chosen, axis=0, dtype=np.float32) * fall / math.sqrt(len(chosen)) * 0.5


def impact(actor: Actor, rate: int) -> Signal:
    """The sound of one impact, peak 1. Pitch falls with size; every object has its own within its material."""
    body = BODIES[actor.material]
    rng = voice_random(actor)
    hertz = body.hertz * 2 ** rng.uniform(-0.3, 0.3) * (0.45 / actor.size) ** 0.5
    samples = round(min(5.5 * max(body.decays), 2.0) * rate)
    if body.bend:
        time = np.arange(samples, dtype=np.float32) / rate
        settle = 0.05  # seconds in which the pitch falls to its rest
        phase = hertz * (time + body.bend * settle * (1 - np.exp(-time / settle)))
        out = np.zeros(samples, np.float32)
        for ratio, decay, level in zip(body.ratios, body.decays, body.levels):
            out += level * np.exp(-time / decay) * np.sin(2 * math.pi * ratio * phase)
    else:
        detuned = [hertz * r * rng.uniform(0.985, 1.015) for r in body.ratios]
        out = partials(detuned, list(body.decays), list(body.levels), samples, rate)
    out /= max(float(np.abs(out).max()), 1e-9)
    for k, (late, gain) in enumerate([(0.0, 1.0)] + [(t, 0.6 * 0.8**i) for i, t in enumerate(body.rattle)]):
        click = _click(body, rng.randrange(rate) + 977 * k, rate)[: max(samples - round(late * rate), 0)]
        out[round(late * rate) :][: len(click)] += body.click_level * gain * click
    out[-round(0.01 * rate) :] *= np.linspace(1, 0, round(0.01 * rate), dtype=np.float32)
    return out / max(float(np.abs(out).max()), 1e-9)
