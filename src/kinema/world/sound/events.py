"""What can be heard in a scene and exactly when: the motion's events, the creatures' calls, the instruments' notes."""

from __future__ import annotations

import math
import random

from kinema.world.motion import Event, events, pose, view
from kinema.world.scene import BACKGROUNDS, Actor, Scene

MATERIALS = ("soft", "wood", "metal", "glass", "rubber", "plastic", "stone")
CREATURES = ("mammal", "bird", "reptile", "insect", "sea animal", "face")
INSTRUMENT = "instrument"
SOUND_CLASSES = (*MATERIALS, *CREATURES, INSTRUMENT)  # of impacts, of calls, of notes
BEDS = BACKGROUNDS  # every background has its own bed

# Events with a sharp beginning. Motion sounds (roll, whoosh, engine) begin with the clip: they have no onset to find.
ONSET_KINDS = ("impact", "call", "note")

_APART = 0.2  # seconds between a call or a note and any other onset
_EDGE = 0.12  # seconds that calls and notes keep from the clip's beginning
_LONGEST = 0.5


def voice_random(actor: Actor) -> random.Random:
    """What makes one individual's voice, engine or tuning its own: the same in every scene it is in."""
    return random.Random(f"voice:{actor.name}")


def voice_kind(actor: Actor) -> str | None:
    """`call` for creatures, `note` for instruments, None for what makes no sound by itself."""
    if actor.family in CREATURES:
        return "call"
    return "note" if actor.family == INSTRUMENT else None


def voice_length(actor: Actor) -> float:
    """Seconds that a call or note of this actor takes."""
    shortest = {"mammal": 0.3, "bird": 0.22, "reptile": 0.3, "insect": 0.35, "sea animal": 0.38, "face": 0.28}
    low = shortest.get(actor.family, 0.4)
    return round(low + (_LONGEST - low) * voice_random(actor).random(), 3)


def nearness(actor: Actor) -> float:
    """How loud an actor is for its depth: 1 for subjects, less for those behind them."""
    return min(1.0, (3.5 / actor.depth) ** 0.6)


def _voices(scene: Scene, taken: list[float]) -> list[Event]:
    found: list[Event] = []
    for k, actor in enumerate(scene.actors):
        kind = voice_kind(actor)
        if kind is None:
            continue
        rng = random.Random(f"times:{scene.seed}:{k}")
        length = voice_length(actor)
        own: list[float] = []
        for _ in range(rng.choice((1, 2, 2, 3))):
            for _ in range(24):
                time = rng.uniform(_EDGE, scene.duration - length - 0.05)
                clear = all(abs(time - other) >= _APART for other in taken)
                if time >= _EDGE and clear and all(abs(time - other) >= length + 0.12 for other in own):
                    taken.append(time)
                    own.append(time)
                    break
        for time in own:
            at, camera = pose(actor, time, scene.duration), view(scene, time)
            found.append(
                Event(
                    kind=kind,
                    time=time,
                    actor=k,
                    strength=round(nearness(actor) * rng.uniform(0.75, 1.0), 3),
                    x=(at.x - camera.x) * camera.zoom,
                )
            )
    return found


def sound_events(scene: Scene) -> tuple[Event, ...]:
    """Everything that can be heard to happen, in order of time (s), exact.

    The motion's events (`impact`, `start`), a `call` for each time a creature calls and a `note` for each time an
    instrument plays. Calls and notes keep 0.2 s from every other onset.
    """
    moving = events(scene)
    taken = [e.time for e in moving if e.kind == "impact"]
    return tuple(sorted((*moving, *_voices(scene, taken)), key=lambda e: e.time))


def onsets(scene: Scene, kinds: tuple[str, ...] = ONSET_KINDS) -> tuple[Event, ...]:
    """The events with a sharp beginning: the ground truth of onset metrics.

    `kinds=("impact",)` leaves those that the picture shows; calls and notes have no visible cause.
    """
    return tuple(e for e in sound_events(scene) if e.kind in kinds)


def sound_class(scene: Scene, event: Event) -> str:
    """What an event sounds like.

    The material of an impact, the family of a caller, `instrument` for a note, the motion for `start` and `stop`.
    """
    actor = scene.actors[event.actor]
    if event.kind == "impact":
        return actor.material
    if event.kind == "call":
        return actor.family
    return INSTRUMENT if event.kind == "note" else actor.motion


def speed(actor: Actor, time: float, duration: float) -> float:
    """How fast an actor's centre or rim moves (frame heights per second)."""
    step = 0.005
    before, after = pose(actor, max(time - step, 0.0), duration), pose(actor, time + step, duration)
    elapsed = step + min(step, time)
    rim = 0.5 * actor.size * abs(after.angle - before.angle)
    return math.hypot(after.x - before.x, after.y - before.y) / elapsed + 0.7 * rim / elapsed
