"""The sound of scenes: what happens, what moves, what runs, and where it is, mixed into one track."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

from kinema.errors import UserError
from kinema.world.scene import Scene
from kinema.world.sound.beds import bed
from kinema.world.sound.calls import call, note
from kinema.world.sound.engines import engine
from kinema.world.sound.events import nearness, sound_events
from kinema.world.sound.impacts import impact
from kinema.world.sound.moving import motion_sound
from kinema.world.sound.signal import Signal, add_at, swell

LOWEST_RATE = 16000
PEAK = 0.89  # no clip is louder
_GAIN = {"impact": 0.6, "call": 0.36, "note": 0.42}  # peak of an event of strength 1
_EDGE = 0.005  # seconds of fade at both ends of a clip


def scene_sound(scene: Scene, rate: int, samples: int) -> Signal:
    """One scene's sound: (samples,)."""
    rng = random.Random(f"sound:{scene.seed}")
    track = bed(scene.background, samples, rate, rng)
    for actor in scene.actors:
        for part in (
            motion_sound(actor, scene.duration, samples, rate, rng),
            engine(actor, scene.duration, samples, rate, rng),
        ):
            if part is not None:
                track += part
    impacts: dict[int, Signal] = {}
    for event in sound_events(scene):
        actor = scene.actors[event.actor]
        if event.kind == "impact":
            if event.actor not in impacts:
                impacts[event.actor] = impact(actor, rate) * nearness(actor)
            sound = impacts[event.actor]
        elif event.kind == "call":
            sound = call(actor, rate)
        elif event.kind == "note":
            sound = note(actor, rng.randrange(6), rate)
        else:
            continue
        add_at(track, sound, event.time, rate, _GAIN[event.kind] * event.strength)
    track *= swell(samples, rate, _EDGE, _EDGE)
    return track * min(1.0, PEAK / max(float(np.abs(track).max()), 1e-9))


def render_sound(scenes: Sequence[Scene], rate: int = 48000, duration: float | None = None) -> torch.Tensor:
    """The sound of scenes in step with their pictures: float32 (B, 1, samples) in [-1, 1], mono.

    A pure function of each scene: a scene sounds the same alone and in a batch. `duration` (s) cuts the clips short
    or lets the background go on; None takes the scenes' own.

    Raises:
        UserError: no scenes, scenes of different lengths without `duration`, or a rate below 16 kHz.
    """
    if not scenes:
        raise UserError("there are no scenes to render: pass at least one")
    if rate < LOWEST_RATE:
        raise UserError(f"the rate is {rate} Hz; the world's sound needs at least {LOWEST_RATE}")
    lengths = {scene.duration for scene in scenes} if duration is None else {duration}
    if len(lengths) > 1:
        raise UserError(
            f"the scenes last {sorted(lengths)} seconds: pass `duration` to render them in one batch"
        )
    samples = round(lengths.pop() * rate)
    if samples < round(2 * _EDGE * rate):
        raise UserError(
            f"a clip of {samples / rate:.4f} s is too short to hear: pass a duration of 0.01 s or more"
        )
    return torch.from_numpy(np.stack([scene_sound(scene, rate, samples) for scene in scenes]))[:, None]
