"""Engines of vehicles, aircraft and boats: cylinders, rotors, jets; louder and higher when they move."""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np

from kinema.world.scene import Actor
from kinema.world.sound.events import nearness, speed, voice_random
from kinema.world.sound.signal import (
    Signal,
    control_times,
    decibels,
    moving_noise,
    oscillate,
    period,
    stretch,
)

_HEAVY = "bus, fire engine, tractor, locomotive, tram car, delivery truck, lorry, trolleybus, minibus, pickup truck"
_BOATS = "speedboat, motor boat, passenger ship, ferry, ship"
_NO_ENGINE = (
    "bicycle, kick scooter, skateboard, roller skate, sled, satellite, parachute, kite, comet, bullet train"
)


def engine_kind(actor: Actor) -> str | None:
    """`motor`, `diesel`, `rotor` or `jet`; None for what has no engine."""
    if actor.name in _NO_ENGINE.split(", "):
        return None
    if actor.name == "helicopter":
        return "rotor"
    if actor.name == "small airplane":
        return "motor"
    if actor.family == "aircraft":
        return "jet"
    if actor.name in _HEAVY.split(", ") or actor.name in _BOATS.split(", "):
        return "diesel"
    return "motor" if actor.family == "vehicle" else None


@lru_cache(maxsize=8)
def _cylinders(kind: str) -> Signal:
    # How many harmonics it takes until they are down to a third.
    reach = {"motor": 14, "diesel": 11, "rotor": 4, "jet": 2}[kind]
    return period([(1.0 if k % 2 else 0.55) * math.exp(-(k + 1) / reach) for k in range(5 * reach)])


def engine(actor: Actor, duration: float, samples: int, rate: int, rng: random.Random) -> Signal | None:
    """The running engine of an actor, or None for one without: (samples,)."""
    kind = engine_kind(actor)
    if kind is None:
        return None
    own = voice_random(actor)
    times = control_times(samples, rate)
    going = np.array([min(speed(actor, t, duration), 1.2) for t in times])
    going = np.convolve(np.pad(going, 5, mode="edge"), np.full(11, 1 / 11), mode="valid")
    revs = 0.9 + 0.55 * going
    base = {"motor": 62.0, "diesel": 34.0, "rotor": 48.0, "jet": 520.0}[kind] * 2 ** own.uniform(-0.3, 0.3)
    tone = oscillate(_cylinders(kind), stretch(base * revs, samples, rate), rate)
    noise_at = {"motor": 420.0, "diesel": 260.0, "rotor": 620.0, "jet": 1500.0}[kind]
    noise = moving_noise(noise_at * revs, 0.8, samples, rate, rng.randrange(4 * rate))
    if kind == "rotor":
        chop = (0.5 + 0.5 * np.cos(2 * math.pi * 11.5 * times)) ** 3
        out = (0.5 * tone + 0.8 * noise) * stretch(0.15 + 0.85 * chop, samples, rate)
    elif kind == "jet":
        out = 0.12 * tone + noise
    else:
        shake = 0.8 + 0.2 * np.cos(2 * math.pi * base / 8 * times)
        out = (tone + 0.35 * noise) * stretch(shake, samples, rate)
    power = float(np.sqrt(np.mean(out**2)))
    level = decibels(-26) * nearness(actor) * stretch(0.75 + 0.5 * going, samples, rate)
    return (out / max(power, 1e-9) * level).astype(np.float32)
