"""Free words into the canonical captions that nano was trained on, and plain sentences on what it could not take.

understand("a red fox bounces to the right, night sky").caption
-> "a fox bounces to the right under a night sky"
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kinema.errors import UserError
from kinema.systems.movie_gen.video import meanings
from kinema.systems.movie_gen.video.lexicon import OTHER_COLOURS
from kinema.systems.movie_gen.video.reading import PLAIN_DIRECTIONS, Noun, Reader, Verb
from kinema.systems.movie_gen.video.spelling import take_words
from kinema.world import atlas
from kinema.world.captions import MOTION_PHRASES, article, canonical_words

MAX_COMPANIONS = 2
MAX_LISTED = 6  # words that one notice quotes
HOMES = {
    "underwater": "whale octopus tropical_fish",
    "night sky": "rocket",
    "beach": "sailboat crab",
    "snow": "penguin",
    "city": "car bus fire_engine",
    "forest": "owl",
    "room": "hamburger pizza doughnut cupcake ice_cream guitar drum trumpet crown teddy_bear robot",
}
HOME = {name.replace("_", " "): place for place, names in HOMES.items() for name in names.split()}


@dataclass(frozen=True, kw_only=True)
class Understood:
    """What nano will be asked for, in the world's own terms, and what was lost on the way."""

    caption: str
    camera: str
    subject: str
    motion: str
    direction: str
    background: str
    companions: tuple[tuple[str, str], ...]  # (name, "left" or "right")
    sign: str  # what a sign says, "" for none
    notices: tuple[str, ...]  # plain sentences


@lru_cache(maxsize=256)
def understand(prompt: str) -> Understood:
    """Bring a prompt into the canonical form of the Small World's captions.

    Any text that is not empty is understood somehow; what was replaced or left out stands in `notices`.

    Raises:
        UserError: the prompt is empty.
    """
    if not prompt:
        raise UserError("the prompt is empty: say what the clip shows, such as 'a fox jumps in the snow'")
    words, sign, spelled = take_words(prompt)
    read = Reader(words)
    notices = read.notices
    names = _objects(read.nouns, notices)
    if not names:
        names = [_chosen(prompt)]
        notices.append(f"The prompt names no object that nano knows; it took '{names[0]}'.")
    nouns = read.nouns[: len(names)]
    subject, companions = names[0], _companions(names, nouns, notices)
    for name, noun in zip(names, nouns):
        own = (atlas.by_name()[name].colour, *OTHER_COLOURS.get(name, "").split(), *name.split())
        for colour in dict.fromkeys(noun.colours):
            if colour not in own:
                notices.append(f"nano paints {article(name)} in its own colours; '{colour}' was left out.")
    motion, direction = _motion(read.verb, notices)
    if read.strange_verb:
        if read.verb is None:
            notices.append(
                f"nano does not know the motion '{_short(read.strange_verb)}'; the {subject} stands still."
            )
        else:
            read.ignored.insert(0, read.strange_verb)
    home = HOME.get(subject, "meadow")
    background = read.background or read.hint or home
    if background == "sea":  # fish are in it, everything else is beside it
        background = home if home == "underwater" else "beach"
    camera = read.camera or "static"
    if read.ignored:
        notices.append(f"nano left out {_listed(read.ignored)}.")
    notices += spelled
    return Understood(
        caption=canonical_words(subject, motion, direction, background, companions, camera, sign),
        camera=camera,
        subject=subject,
        motion=motion,
        direction=direction,
        background=background,
        companions=companions,
        sign=sign,
        notices=tuple(dict.fromkeys(notices)),
    )


def _objects(nouns: Sequence[Noun], notices: list[str]) -> list[str]:
    """Nano's objects for the first three of a prompt, no two the same."""
    kept, rest = nouns[: 1 + MAX_COMPANIONS], nouns[1 + MAX_COMPANIONS :]
    taken = {n.entry.value for n in kept if n.entry.exact}
    names = []
    for noun in kept:
        name = noun.entry.value
        if not noun.entry.exact:
            name = next(n for n in meanings.stands_for(name) if n not in taken)
            taken.add(name)
            notices.append(f"nano does not know '{noun.said}'; it took '{name}'.")
        names.append(name)
    if rest:
        notices.append(
            f"nano paints up to three objects; {_listed([n.said for n in rest])} went without a place."
        )
    return names


def _companions(
    names: Sequence[str], nouns: Sequence[Noun], notices: list[str]
) -> tuple[tuple[str, str], ...]:
    """The further objects with their sides: the one that is said where it is free, else the free one."""
    said = [n.sides[0] if n.sides else "" for n in nouns]
    if said and said[0]:
        notices.append(f"nano puts the first object in the middle; 'on the {said[0]}' was left out.")
    sides = said[1:]
    if len(sides) == 2 and sides[0] == sides[1] != "":
        notices.append(f"nano puts one object on each side; the {names[2]} went to the other.")
        sides[1] = ""
    for at, side in enumerate(sides):
        if not side:
            sides[at] = "left" if "right" in sides else "right"
    return tuple(zip(names[1:], sides))


def _motion(verb: Verb | None, notices: list[str]) -> tuple[str, str]:
    """A motion of the world and its direction."""
    if verb is None:
        return "rest", "none"
    if verb.entry.kind == "motion":
        motion, _, direction = verb.entry.value.partition(" ")
        return motion, direction
    name, said = verb.entry.value, set(verb.directions)
    if "around" in said and name in ("go", "float"):
        name = "orbit"
    if said & {"bob", "place"} and name in ("go", "bounce", "hop", "float"):
        name = "jump"
    if "sway" in said and name in ("go", "roll", "float"):
        name = "shake"
    table = meanings.readings()[name]
    way = next((d for d in verb.directions if d in PLAIN_DIRECTIONS), "-")
    motion, direction = table.get(way, table["-"])
    doing = MOTION_PHRASES[motion][0].format(d=direction)
    if way not in table and motion != "rest":
        notices.append(f"nano's '{doing}' has no such direction; '{way}' was left out.")
    if not verb.entry.exact:
        notices.append(f"nano does not know '{verb.said}'; it took '{doing}'.")
    return motion, direction


def _chosen(prompt: str) -> str:
    """An object for a prompt that names none: any, but the same for the same text."""
    digest = hashlib.sha256(meanings.plain(prompt).encode("utf-8", "surrogatepass")).digest()
    names = meanings.nano_names()
    return names[int.from_bytes(digest[:4], "big") % len(names)]


def _short(word: str) -> str:
    return word if len(word) <= 24 else word[:23] + "…"


def _listed(words: Sequence[str]) -> str:
    """Quoted words for a sentence, the first few of them."""
    distinct = list(dict.fromkeys(map(_short, words)))
    shown = [f"'{w}'" for w in distinct[:MAX_LISTED]]
    if more := len(distinct) - len(shown):
        shown.append(f"{more} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
