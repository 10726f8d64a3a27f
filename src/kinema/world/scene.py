"""A scene of the Small World: plain frozen data, a pure function of (split, index, spec), the same on every machine.

Units: lengths are in frame heights, the frame spans x in [-aspect/2, aspect/2] and y in [-1/2, 1/2] with y down;
time in seconds; depth in metres; angles in radians, clockwise as seen on the screen.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Literal, get_args

from kinema.errors import UserError
from kinema.world import atlas
from kinema.world.signs import Sign, SignPlace, check_letters, sample_sign

# motion -> the directions it can take
MOTIONS: dict[str, tuple[str, ...]] = {
    "rest": ("none",),
    "slide": ("left", "right"),
    "roll": ("left", "right"),
    "bounce": ("left", "right"),
    "jump": ("none",),
    "fall": ("down",),
    "rise": ("up",),
    "spin": ("clockwise", "counterclockwise"),
    "orbit": ("clockwise", "counterclockwise"),
    "grow": ("none",),
    "shrink": ("none",),
    "shake": ("none",),
}
DIRECTIONS = ("none", "left", "right", "up", "down", "clockwise", "counterclockwise")
CAMERAS = ("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out")
BACKGROUNDS = (
    "meadow",
    "night sky",
    "beach",
    "snow",
    "desert",
    "city",
    "forest",
    "room",
    "sunset",
    "underwater",
)
FINISHES = ("plain", "appealing")
SPLITS = ("train", "val", "test-pairs", "test-objects")
BACKGROUND_VARIANTS = 12

Finish = Literal["plain", "appealing"]


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object in a scene. (x, y) is the centre of its path, `size` the height of its artwork's square."""

    artwork: int
    motion: str
    direction: str
    x: float
    y: float
    size: float
    depth: float
    amplitude: float
    phase: float
    mirrored: bool

    @property
    def name(self) -> str:
        return atlas.artworks()[self.artwork].name

    @property
    def family(self) -> str:
        return atlas.artworks()[self.artwork].family

    @property
    def material(self) -> str:
        return atlas.artworks()[self.artwork].material

    @property
    def colour(self) -> str:
        return atlas.artworks()[self.artwork].colour


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a clip shows and sounds like. The first actor is the subject: nearest and largest."""

    split: str
    index: int
    actors: tuple[Actor, ...]
    background: str
    variant: int  # which of the background's BACKGROUND_VARIANTS pictures
    shift: float  # where along the background's width the camera stands
    camera: str
    camera_amount: float  # frame heights for pan and tilt, log of the magnification for zoom
    finish: Finish
    fps: float  # the rate that the caption speaks of
    duration: float
    seed: int  # for what is drawn later: the caption's phrasing, hashtags, timbres
    sign: Sign | None = None  # letters on a board behind the actors

    def __repr__(self) -> str:
        """The fields in order; without a sign as in a world that knows none, for digests of scenes stand on it."""
        shown = [f.name for f in fields(self) if f.name != "sign" or self.sign is not None]
        return f"Scene({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def subject(self) -> Actor:
        return self.actors[0]


@dataclass(frozen=True, kw_only=True)
class WorldSpec:
    """What a world is made of. Two specs with equal fields give equal scenes."""

    vocabulary: Literal["nano", "full"] = "full"
    actor_odds: tuple[float, float, float] = (0.7, 0.22, 0.08)  # one, two, three objects
    static_camera: float = 0.5  # share of scenes with a camera that does not move
    appealing: float = 0.25  # share of scenes in the appealing finish
    fps: tuple[float, ...] = (8.0,)
    duration: float = 2.0
    sign_odds: float = 0.0  # share of scenes with a sign (overhead: of those where it can be read)
    sign_letters: tuple[int, int] = (2, 4)  # of the shortest and of the longest word on signs
    sign_place: SignPlace = "anywhere"

    def __post_init__(self) -> None:
        if self.vocabulary not in ("nano", "full"):
            raise UserError(f"the vocabulary is {self.vocabulary!r}; it is 'nano' or 'full'")
        if abs(sum(self.actor_odds) - 1) > 1e-6 or min(self.actor_odds) < 0:
            raise UserError(f"actor_odds are {self.actor_odds}; they are three shares that add up to 1")
        if not 0 <= self.sign_odds <= 1:
            raise UserError(f"sign_odds are {self.sign_odds}; they are a share from 0 to 1")
        check_letters(self.sign_letters)
        if self.sign_place not in get_args(SignPlace):
            raise UserError(f"sign_place is {self.sign_place!r}; it is {' or '.join(get_args(SignPlace))}")

    @property
    def objects(self) -> tuple[int, ...]:
        """Atlas indices that this world's training scenes draw from."""
        if self.vocabulary == "nano":
            return atlas.nano_vocabulary()
        return tuple(a.index for a in atlas.artworks() if not is_unseen_object(a.index))


def _share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


@cache
def is_unseen_object(artwork: int) -> bool:
    """Whether training never shows this object (one in twelve; none of the nano vocabulary)."""
    if artwork in atlas.nano_vocabulary():
        return False
    return _share(f"object:{atlas.artworks()[artwork].name}") < 1 / 12


@cache
def is_unseen_pair(artwork: int, motion: str) -> bool:
    """Whether training never shows this object in this motion (one pair in eight)."""
    return _share(f"pair:{atlas.artworks()[artwork].name}:{motion}") < 1 / 8


def _subject(split: str, spec: WorldSpec, rng: random.Random) -> tuple[int, str]:
    if split == "test-objects":
        unseen = [a.index for a in atlas.artworks() if is_unseen_object(a.index)]
        return rng.choice(unseen), rng.choice(tuple(MOTIONS))
    wanted = split == "test-pairs"
    while True:
        artwork, motion = rng.choice(spec.objects), rng.choice(tuple(MOTIONS))
        if is_unseen_pair(artwork, motion) == wanted:
            return artwork, motion


def make_actor(
    artwork: int, motion: str, direction: str, rng: random.Random, *, companion: int = 0, others: float = 0.0
) -> Actor:
    """Draw place, size, speed for an object in a motion. `companion` counts from 1 for objects behind the subject."""
    if motion not in MOTIONS or direction not in MOTIONS[motion]:
        raise UserError(f"{motion!r} to {direction!r} is no motion of the world; motions: {MOTIONS}")
    sideways = direction in ("left", "right")
    if companion:
        size = rng.uniform(0.2, 0.25)
        side = 1.0 if others <= 0 else -1.0
        if companion == 2:
            side = -side
        x, y, depth = side * rng.uniform(0.28, 0.36), rng.uniform(-0.12, 0.1), 6.0 + 2.5 * companion
    else:
        size = rng.uniform(0.4, 0.5)
        x, y, depth = rng.uniform(-0.12, 0.12), rng.uniform(-0.02, 0.14), rng.uniform(2.0, 4.0)
    amplitude = rng.uniform(0.85, 1.15)
    if sideways and not companion:
        x *= 0.4
    if motion in ("grow", "shrink", "orbit", "fall", "rise"):
        x *= 0.8
        y = rng.uniform(-0.04, 0.06)
    if motion in ("bounce", "jump"):
        y = rng.uniform(0.1, 0.2)
    return Actor(
        artwork=artwork,
        motion=motion,
        direction=direction,
        x=round(x, 4),
        y=round(y, 4),
        size=round(size, 4),
        depth=round(depth, 3),
        amplitude=round(amplitude, 4),
        phase=round(rng.random(), 4),
        mirrored=direction == "right",  # the artwork of animals and vehicles looks to the left
    )


def sample_scene(split: str, index: int, spec: WorldSpec | None = None) -> Scene:
    """The scene at a place in a split: a pure function, any index, no files.

    Splits: `train`; `val` (the same distribution, other scenes); `test-pairs` (object and motion that training
    never showed together); `test-objects` (objects that training never showed).

    Raises:
        UserError: the split is none of these, or the index is negative.
    """
    spec = spec or WorldSpec()
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r} in the Small World; it has {', '.join(SPLITS)}")
    if index < 0:
        raise UserError(f"the scene index is {index}; it counts from 0")
    rng = random.Random(f"kinema-world-1:{spec.vocabulary}:{split}:{index}")
    artwork, motion = _subject(split, spec, rng)
    actors = [make_actor(artwork, motion, rng.choice(MOTIONS[motion]), rng)]
    count = rng.choices((1, 2, 3), spec.actor_odds)[0]
    while len(actors) < count:
        other = rng.choice(spec.objects)
        if other in {a.artwork for a in actors}:
            continue
        actors.append(make_actor(other, "rest", "none", rng, companion=len(actors), others=actors[0].x))
    camera = "static" if rng.random() < spec.static_camera else rng.choice(CAMERAS[1:])
    amount = rng.uniform(0.36, 0.5) if not camera.startswith("zoom") else rng.uniform(0.42, 0.55)
    scene = Scene(
        split=split,
        index=index,
        actors=tuple(actors),
        background=rng.choice(BACKGROUNDS),
        variant=rng.randrange(BACKGROUND_VARIANTS),
        shift=round(rng.uniform(-0.6, 0.6), 4),
        camera=camera,
        camera_amount=0.0 if camera == "static" else round(amount, 4),
        finish="appealing" if rng.random() < spec.appealing else "plain",
        fps=rng.choice(spec.fps),
        duration=spec.duration,
        seed=rng.getrandbits(48),
    )
    if spec.sign_odds <= 0:
        return scene
    return replace(scene, sign=sample_sign(scene, spec))
