"""Things that sound while they move: rolling, air that rushes past, bodies that swell and shrink."""

from __future__ import annotations

import math
import random

import numpy as np

from kinema.world.motion import pose
from kinema.world.scene import Actor
from kinema.world.sound.events import nearness, speed, voice_random
from kinema.world.sound.signal import (
    Signal,
    control_times,
    decibels,
    moving_noise,
    stretch,
)

WHOOSHING = ("slide", "rise", "spin", "orbit", "fall", "shake")
_ROLL_BAND = {
    "soft": 110.0,
    "rubber": 160.0,
    "stone": 220.0,
    "wood": 300.0,
    "plastic": 480.0,
    "metal": 700.0,
    "glass": 1100.0,
}


def rolling(actor: Actor, duration: float, samples: int, rate: int, rng: random.Random) -> Signal:
    """A rumble whose band is the material's and whose bumps are fixed to the object's turning."""
    times = control_times(samples, rate)
    bumps = 18 + voice_random(actor).randrange(18)  # in one turn
    turned = np.array([abs(pose(actor, t, duration).angle) for t in times])
    going = np.array([speed(actor, t, duration) for t in times])
    beat = 0.5 + 0.5 * np.cos(bumps * turned)
    level = (0.25 + 0.75 * beat**2) * np.minimum(going / 0.25, 1.5)
    centre = _ROLL_BAND[actor.material] * (0.9 + 0.3 * beat)
    noise = moving_noise(centre, 0.9, samples, rate, rng.randrange(4 * rate))
    return noise * stretch(level, samples, rate) * decibels(-24)


def whoosh(actor: Actor, duration: float, samples: int, rate: int, rng: random.Random) -> Signal:
    """Air that rushes past: louder and brighter the faster the object goes.

    What spins or orbits swishes once for each arm or turn; what falls rushes until it lands.
    """
    times = control_times(samples, rate)
    going = np.array([speed(actor, t, duration) for t in times])
    level = np.minimum((going / 0.6) ** 0.8, 1.3)
    if actor.motion == "spin":
        arms = 3 + voice_random(actor).randrange(4)
        angle = np.array([pose(actor, t, duration).angle for t in times])
        level *= 0.35 + 0.65 * (0.5 + 0.5 * np.cos(arms * angle)) ** 2
    elif actor.motion == "orbit":
        # nearest at the bottom of its circle
        towards = np.array([pose(actor, t, duration).y - actor.y for t in times]) / 0.2
        level *= 0.55 + 0.45 * towards
        going = going * (1 + 0.35 * towards)
    centre = 320 * (1 + going / 0.25) ** 1.1
    noise = moving_noise(centre, 0.55, samples, rate, rng.randrange(4 * rate))
    return noise * stretch(level, samples, rate) * decibels(-25)


def swelling(actor: Actor, duration: float, samples: int, rate: int, rng: random.Random) -> Signal:
    """A narrow breath whose pitch climbs while a body grows and sinks while it shrinks."""
    times = control_times(samples, rate)
    relative = np.array([pose(actor, t, duration).size for t in times]) / actor.size
    centre = 700 * relative**2.2
    noise = moving_noise(centre, 0.3, samples, rate, rng.randrange(4 * rate))
    ebb = 0.8 + 0.2 * np.cos(2 * math.pi * 1.5 * times)
    return noise * stretch(ebb, samples, rate) * decibels(-29)


def motion_sound(actor: Actor, duration: float, samples: int, rate: int, rng: random.Random) -> Signal | None:
    """What an actor's motion sounds like between its events, or None for one that is silent: (samples,)."""
    if actor.motion == "roll":
        sound = rolling(actor, duration, samples, rate, rng)
    elif actor.motion in WHOOSHING:
        sound = whoosh(actor, duration, samples, rate, rng)
    elif actor.motion in ("grow", "shrink"):
        sound = swelling(actor, duration, samples, rate, rng)
    else:
        return None
    return sound * nearness(actor)
