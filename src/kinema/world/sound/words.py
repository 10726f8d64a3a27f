"""Words for a scene's sound: what is heard in front, and the place behind it."""

from __future__ import annotations

import random

from kinema.world.captions import article
from kinema.world.scene import Actor, Scene
from kinema.world.sound.engines import engine_kind
from kinema.world.sound.events import sound_events

BED_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": ("birds and a breeze", "distant birdsong and a light breeze", "a quiet meadow with birds"),
    "night sky": ("crickets at night", "chirping crickets in the dark", "a still night with crickets"),
    "beach": ("waves", "waves on a beach", "the surf"),
    "snow": ("a thin wind", "a cold whistling wind", "thin winter wind"),
    "desert": ("a dry wind", "dry gusts and blowing sand", "wind over sand"),
    "city": ("city rumble", "traffic and a distant horn", "the rumble of a city"),
    "forest": ("rustling leaves", "leaves in the wind", "the rustle of a forest"),
    "room": ("room tone and a clock", "a ticking clock", "a quiet room with a ticking clock"),
    "sunset": ("evening crickets", "the warm trill of evening crickets", "a warm evening with crickets"),
    "underwater": ("muffled bubbles", "bubbles under water", "a deep murmur and bubbles"),
}
_HITS = ("impacts", "hits", "knocks")
_CALLS: dict[str, tuple[str, ...]] = {
    "mammal": ("growls", "snarls"),
    "bird": ("chirps", "whistles"),
    "reptile": ("croaks",),
    "insect": ("buzzes", "drones"),
    "sea animal": ("sings under water", "gives a gliding call"),
    "face": ("laughs", "chuckles"),
}
_ENGINES = {"motor": "engine", "diesel": "heavy engine", "rotor": "rotor", "jet": "jet engine"}
_MOVING: dict[str, tuple[str, ...]] = {
    "roll": ("a rolling rumble", "something rolling"),
    "slide": ("a soft steady whoosh", "a long soft whoosh"),
    "rise": ("a soft rising whoosh", "air rushing softly"),
    "spin": ("a turning swish", "swishes of something that turns"),
    "orbit": ("a whoosh that circles", "a whoosh coming and going"),
    "fall": ("a whoosh downwards", "a falling whoosh"),
    "shake": ("quick swishes back and forth", "rapid swishes"),
    "grow": ("a climbing breath of air", "a swell that rises"),
    "shrink": ("a sinking breath of air", "a swell that sinks"),
}
_TIMES = ("", "", " twice", " three times", " four times", " five times")


def _impacts(actor: Actor, count: int, rng: random.Random) -> str:
    what, hit = actor.material, rng.choice(_HITS)
    if actor.motion == "fall":
        rebound = rng.choice((" and its rebound", " and a small rebound")) if count > 1 else ""
        return f"{rng.choice(('a hard', 'a sudden', 'one'))} {what} impact{rebound}"
    if count == 1:
        return f"one {what} {hit[:-1]}"
    return rng.choice(
        (f"{what} {hit} at a steady beat", f"{what} {hit} in a regular rhythm", f"steady {what} {hit}")
    )


def _foreground(scene: Scene, rng: random.Random) -> list[str]:
    heard = sound_events(scene)
    found: list[str] = []
    for k, actor in enumerate(scene.actors):
        counts = {
            kind: sum(e.kind == kind and e.actor == k for e in heard) for kind in ("impact", "call", "note")
        }
        if actor.motion in _MOVING:
            found.append(rng.choice(_MOVING[actor.motion]))
        if counts["impact"]:
            found.append(_impacts(actor, counts["impact"], rng))
        if counts["call"]:
            found.append(f"{article(actor.name)} {rng.choice(_CALLS[actor.family])}{_TIMES[counts['call']]}")
        if counts["note"]:
            found.append(
                f"{article(actor.name)} plays {('', 'a note', 'two notes', 'three notes')[counts['note']]}"
            )
        running = engine_kind(actor)
        if running:
            hum = rng.choice(("running", "humming", "at work"))
            found.append(f"the {_ENGINES[running]} of {article(actor.name)} {hum}")
    return found


def sound_caption(scene: Scene, index: int | None = None) -> str:
    """What a scene sounds like, in one of many phrasings: drawn from the scene's own seed, or the index-th.

    "metal impacts at a steady beat, over waves"
    """
    rng = random.Random(f"sound caption:{scene.seed}:{index}")
    front, place = _foreground(scene, rng), rng.choice(BED_PHRASES[scene.background])
    if not front:
        return rng.choice((place, f"only {place}", f"nothing but {place}"))
    joined = front[0] if len(front) == 1 else f"{', '.join(front[:-1])} and {front[-1]}"
    pattern = rng.choice(
        (
            "{front}, over {place}",
            "{place}, {front}",
            "{front} with {place} in the background",
            "{front}; {place}",
        )
    )
    return pattern.format(front=joined, place=place) + ("." if rng.random() < 0.3 else "")
