"""Words for a scene: one canonical form, and many phrasings with the field's own camera terms."""

from __future__ import annotations

import random
from collections.abc import Sequence

from kinema.world.scene import Actor, Scene
from kinema.world.signs import Sign

# motion -> phrasings, the canonical one first; {d} is the direction
MOTION_PHRASES: dict[str, tuple[str, ...]] = {
    "rest": ("stands still", "rests", "stays in place", "does not move"),
    "slide": ("slides to the {d}", "glides to the {d}", "moves to the {d}", "slides {d}"),
    "roll": ("rolls to the {d}", "rolls {d}", "tumbles to the {d}"),
    "bounce": ("bounces to the {d}", "bounces {d}", "hops to the {d}"),
    "jump": ("jumps up and down", "hops on the spot", "bounces in place"),
    "fall": ("falls down", "drops to the ground", "falls from above"),
    "rise": ("rises up", "floats upwards", "lifts off slowly"),
    "spin": ("spins {d}", "turns {d}", "rotates {d}"),
    "orbit": ("circles {d}", "moves in a circle {d}", "orbits {d}"),
    "grow": ("grows", "gets bigger", "becomes larger"),
    "shrink": ("shrinks", "gets smaller", "becomes tiny"),
    "shake": ("shakes", "wobbles", "shivers"),
}
BACKGROUND_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "on green grass", "in a sunny field"),
    "night sky": ("under a night sky", "at night", "under the stars"),
    "beach": ("on a beach", "by the sea", "at the seaside"),
    "snow": ("in the snow", "in a snowy landscape", "in winter"),
    "desert": ("in a desert", "on desert sand", "in the dry desert"),
    "city": ("in a city", "on a city street", "in front of buildings"),
    "forest": ("in a forest", "among trees", "in the woods"),
    "room": ("in a room", "indoors", "inside a room"),
    "sunset": ("at sunset", "in the evening light", "at dusk"),
    "underwater": ("under water", "below the sea", "deep under the sea"),
}
CAMERA_PHRASES: dict[str, tuple[str, ...]] = {
    "static": ("static camera", "the camera is still", "static shot"),
    "pan left": ("pan left", "the camera pans left", "the camera pans to the left"),
    "pan right": ("pan right", "the camera pans right", "the camera pans to the right"),
    "tilt up": ("tilt up", "the camera tilts up", "the camera tilts upwards"),
    "tilt down": ("tilt down", "the camera tilts down", "the camera tilts downwards"),
    "zoom in": ("zoom in", "the camera zooms in", "slow zoom in"),
    "zoom out": ("zoom out", "the camera zooms out", "slow zoom out"),
}


# where a sign is named apart, and where it is joined to the sentence; {c} is a board's colour and a space, or nothing
SIGN_PHRASES: tuple[str, ...] = (
    'a {c}sign that says "{w}"',
    'a {c}sign that reads "{w}"',
    'a {c}board with the letters "{w}"',
    'behind it a {c}sign saying "{w}"',
    'with "{w}" written on a {c}board',
    'the {c}sign says "{w}"',
)
SIGN_JOINED: tuple[str, ...] = (
    'beside a {c}board reading "{w}"',
    'near a {c}sign that says "{w}"',
    'in front of a {c}sign with the word "{w}"',
    'by a {c}sign reading "{w}"',
)
SIGN_KIND_PHRASES: dict[str, tuple[str, ...]] = {
    "post": ('a {c}sign on a post that says "{w}"', 'a {c}signpost reading "{w}"'),
    "plate": ('a hanging {c}sign that says "{w}"', 'a {c}board hanging from above, reading "{w}"'),
}


def article(noun: str) -> str:
    """The noun with its indefinite article; plurals go without."""
    last = noun.split()[-1]
    if last.endswith("s") and last not in ("octopus", "bus", "cactus", "glass", "dress", "hourglass"):
        return noun
    vowel = noun[0].lower() in "aeiou" and not noun.startswith("uni")
    return f"{'an' if vowel else 'a'} {noun}"


def motion_phrase(actor: Actor, rng: random.Random | None = None) -> str:
    """What the actor does: canonical without `rng`, else one of the phrasings."""
    options = MOTION_PHRASES[actor.motion]
    chosen = rng.choice(options) if rng else options[0]
    direction = actor.direction
    if rng and direction == "counterclockwise" and rng.random() < 0.25:
        direction = "anticlockwise"
    return chosen.format(d=direction)


def side(actor: Actor) -> str:
    """Where a companion stands."""
    return "left" if actor.x < 0 else "right"


def canonical_caption(scene: Scene) -> str:
    """The one form that a prompt is brought into before nano sees it.

    "a fox bounces to the right in a meadow, a small owl on the left, pan left"; with a sign there is another part
    before the camera's: 'a sign that says "MILK"'
    """
    subject = scene.subject
    return canonical_words(
        subject.name,
        subject.motion,
        subject.direction,
        scene.background,
        [(a.name, side(a)) for a in scene.actors[1:]],
        scene.camera,
        scene.sign.word if scene.sign else "",
    )


def canonical_words(
    subject: str,
    motion: str,
    direction: str,
    background: str,
    companions: Sequence[tuple[str, str]] = (),
    camera: str = "static",
    sign: str = "",
) -> str:
    """The canonical form from names alone; companions are (name, side), `sign` is what one says."""
    doing = MOTION_PHRASES[motion][0].format(d=direction)
    parts = [f"{article(subject)} {doing} {BACKGROUND_PHRASES[background][0]}"]
    parts += [f"{article('small ' + name)} on the {where}" for name, where in companions]
    if sign:
        parts.append(SIGN_PHRASES[0].format(c="", w=sign))
    if camera != "static":
        parts.append(CAMERA_PHRASES[camera][0])
    return ", ".join(parts)


def caption(scene: Scene, index: int | None = None) -> str:
    """One of many phrasings: drawn from the scene's own seed, or the index-th (0 is the canonical form)."""
    if index == 0:
        return canonical_caption(scene)
    rng = random.Random(f"caption:{scene.seed}:{index}")
    subject = scene.subject
    noun = subject.name
    if rng.random() < 0.3 and subject.colour not in noun:
        noun = f"{subject.colour} {noun}"
    who = article(noun) if rng.random() < 0.8 else f"one {noun}"
    doing, where = motion_phrase(subject, rng), rng.choice(BACKGROUND_PHRASES[scene.background])
    sentence = rng.choice(
        ("{who} {doing} {where}", "{where}, {who} {doing}", "{who} {doing}, {where}")
    ).format(who=who, doing=doing, where=where)
    extra = [_companion(a, rng) for a in scene.actors[1:]]
    if scene.sign:
        # Words for a sign have their own generator, so that the rest of the caption is what it is without one.
        board, joined = _sign(scene.sign, random.Random(f"sign:{scene.seed}:{index}"))
        sentence, extra = (f"{sentence} {board}", extra) if joined else (sentence, [*extra, board])
    camera = rng.choice(CAMERA_PHRASES[scene.camera])
    if scene.camera == "static" and rng.random() < 0.7:
        camera = ""
    order: Sequence[str] = (sentence, *extra, camera) if rng.random() < 0.75 else (camera, sentence, *extra)
    text = ", ".join(p for p in order if p)
    return text + ("." if rng.random() < 0.3 else "")


def _companion(actor: Actor, rng: random.Random) -> str:
    name, where = article("small " + actor.name), side(actor)
    return rng.choice(
        (f"{name} on the {where}", f"with {name} behind it on the {where}", f"{name} to the {where}")
    )


def _sign(sign: Sign, rng: random.Random) -> tuple[str, bool]:
    """What a sign says, in one of the phrasings, and whether it joins the sentence without a comma."""
    colour = f"{sign.colour} " if rng.random() < 0.3 else ""
    options = (*SIGN_PHRASES, *SIGN_JOINED, *SIGN_KIND_PHRASES[sign.kind])
    chosen = rng.choice(options)
    return chosen.format(c=colour, w=sign.word), chosen in SIGN_JOINED
