"""Hashtags that people would put under a clip: some true, many missing, a few about nothing, some misspelt."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from kinema.errors import UserError
from kinema.world import atlas
from kinema.world.scene import Scene

# What is popular anywhere and says nothing about the clip, the most popular first.
_WORDS = (
    "love instagood photooftheday cute beautiful happy follow art nature fun style picoftheday amazing mood "
    "vibes explore video instadaily daily life smile like4like weekend friends travel reels trending viral "
    "fyp nofilter tbt instamood goodvibes inspiration motivation aesthetic fashion music food home summer "
    "winter family"
)
POPULAR = tuple(_WORDS.split())

FAMILY_TAGS: dict[str, tuple[str, ...]] = {
    "mammal": ("animal", "wildlife", "mammal", "furry"),
    "bird": ("bird", "birdwatching", "feathers", "animal"),
    "reptile": ("reptile", "coldblooded", "animal"),
    "sea animal": ("sealife", "ocean", "marinelife", "animal"),
    "insect": ("insect", "bugs", "macro", "animal"),
    "plant": ("plant", "flowers", "garden", "botanical"),
    "fruit": ("fruit", "healthy", "vitamins", "foodie"),
    "vegetable": ("vegetable", "veggies", "vegan", "foodie"),
    "meal": ("foodie", "yummy", "dinner", "meal"),
    "sweet": ("dessert", "sweet", "sugar", "foodie"),
    "drink": ("drink", "cheers", "thirsty"),
    "vehicle": ("vehicle", "onwheels", "transport", "drive"),
    "aircraft": ("aviation", "flying", "sky"),
    "boat": ("boat", "sailing", "boatlife"),
    "ball": ("sports", "ball", "game"),
    "instrument": ("music", "instrument", "musician"),
    "toy": ("toy", "play", "kids"),
    "clothing": ("fashion", "outfit", "ootd"),
    "tool": ("tools", "diy", "workshop"),
    "device": ("tech", "gadget", "device"),
    "furniture": ("home", "interior", "stuff"),
    "face": ("emoji", "face", "mood"),
}
MOTION_TAGS: dict[str, tuple[str, ...]] = {
    "rest": ("still", "calm", "chilling"),
    "slide": ("sliding", "onthemove", "smooth"),
    "roll": ("rolling", "tumbling", "letitroll"),
    "bounce": ("bouncing", "bounce", "boing"),
    "jump": ("jumping", "jump", "hop"),
    "fall": ("falling", "gravity", "drop"),
    "rise": ("rising", "liftoff", "floating"),
    "spin": ("spinning", "spin", "dizzy"),
    "orbit": ("orbiting", "circles", "roundandround"),
    "grow": ("growing", "bigger", "growth"),
    "shrink": ("shrinking", "tiny", "smaller"),
    "shake": ("shaking", "wobble", "shiver"),
}
BACKGROUND_TAGS: dict[str, tuple[str, ...]] = {
    "meadow": ("meadow", "grass", "countryside", "sunnyday"),
    "night sky": ("night", "stars", "nightsky", "moon"),
    "beach": ("beach", "sea", "beachlife", "sand"),
    "snow": ("snow", "winterwonderland", "cold", "mountains"),
    "desert": ("desert", "dunes", "cactus", "hot"),
    "city": ("city", "citylife", "street", "urban"),
    "forest": ("forest", "trees", "woods", "hiking"),
    "room": ("room", "indoors", "athome", "interior"),
    "sunset": ("sunset", "dusk", "goldenhour", "evening"),
    "underwater": ("underwater", "diving", "deepsea", "ocean"),
}


@dataclass(frozen=True, kw_only=True)
class TagNoise:
    """How people tag. Shares are of tags; `wanted` is how many true tags somebody means to write, on average."""

    wanted: float = 4.0
    spurious: float = 1.2  # popular tags about nothing, on average
    misspelt: float = 0.06
    plural: float = 0.15

    def __post_init__(self) -> None:
        shares = (self.misspelt, self.plural)
        if min(self.wanted, self.spurious, *shares) < 0 or max(shares) > 1:
            raise UserError(f"{self} cannot be: counts are at least 0, shares from 0 to 1")


def as_tag(words: str) -> str:
    """One hashtag without its sign: "piñata party" -> "pinataparty"."""
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]", "", plain)


@lru_cache(maxsize=8192)
def popularity(tag: str) -> float:
    """How often people reach for a tag: 1 / rank, the rank drawn from the tag itself (Zipf's law with exponent 1).

    Ranks are log-uniform over 1 to 1000, so that popularity has the tail of a vocabulary of a thousand tags.
    """
    share = int.from_bytes(hashlib.sha256(f"tag:{tag}".encode()).digest()[:6], "big") / 2**48
    return float(1000.0**-share)


def true_tags(scene: Scene) -> tuple[str, ...]:
    """Every tag that is right for the scene, without noise: objects, synonyms, families, colour, motion, background."""
    subject, found = scene.subject, list[str]()
    for actor in scene.actors:
        found.append(as_tag(actor.name))
        found += [as_tag(t) for t in atlas.artworks()[actor.artwork].tags if len(t) > 2]
        found += FAMILY_TAGS[actor.family]
    found += (as_tag(subject.colour), *MOTION_TAGS[subject.motion], *BACKGROUND_TAGS[scene.background])
    return tuple(dict.fromkeys(t for t in found if t))


def _weight(tag: str, scene: Scene) -> float:
    """People name the thing first, then what is popular."""
    named = [as_tag(a.name) for a in scene.actors]
    if tag == named[0]:
        return 6.0
    plain = tag in named or tag == BACKGROUND_TAGS[scene.background][0]
    return popularity(tag) + (1.0 if plain else 0.02)


def _slip(tag: str, rng: random.Random) -> str:
    """One typing error: a letter missing, doubled, or swapped with the next."""
    if len(tag) < 4:
        return tag
    at = rng.randrange(1, len(tag) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return tag[:at] + tag[at + 1 :]
    if kind == 1:
        return tag[:at] + tag[at] + tag[at:]
    return tag[:at] + tag[at + 1] + tag[at] + tag[at + 2 :]


def _other_number(tag: str) -> str:
    """The plural of a singular, the singular of a plural."""
    if tag.endswith("s") and not tag.endswith("ss"):
        return tag[:-1]
    if tag.endswith(("ss", "x", "ch", "sh")):
        return tag + "es"
    if tag.endswith("y") and tag[-2:-1] not in "aeiou":
        return tag[:-1] + "ies"
    return tag + "s"


def hashtags(scene: Scene, noise: TagNoise | None = None) -> tuple[str, ...]:
    """Tags for a scene as somebody would write them, without the sign; pure in the scene, at least one tag."""
    noise = noise or TagNoise()
    rng = random.Random(f"hashtags:{scene.seed}")
    left = list(true_tags(scene))
    weights = [_weight(t, scene) for t in left]
    count = max(1, min(len(left), round(rng.gammavariate(2.0, noise.wanted / 2)))) if noise.wanted else 0
    tags: list[str] = []
    while len(tags) < count:
        at = rng.choices(range(len(left)), weights)[0]
        tags.append(left.pop(at))
        weights.pop(at)
    for _ in range(min(len(POPULAR), round(rng.expovariate(1 / noise.spurious)) if noise.spurious else 0)):
        tags.append(rng.choices(POPULAR, [1 / (r + 1) for r in range(len(POPULAR))])[0])
    written = []
    for tag in tags:
        word = _other_number(tag) if rng.random() < noise.plural else tag
        written.append(_slip(word, rng) if rng.random() < noise.misspelt else word)
    rng.shuffle(written)
    return tuple(dict.fromkeys(written)) or (POPULAR[0],)
