"""From words to meanings: the index over the lexicon, and a prompt cut into the longest sequences that it holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import NamedTuple

from kinema.systems.movie_gen.video import lexicon
from kinema.world import atlas
from kinema.world.captions import BACKGROUND_PHRASES, CAMERA_PHRASES, MOTION_PHRASES
from kinema.world.scene import MOTIONS

MAX_TYPO_LOOKUPS = 24  # a prompt; beyond, unknown words count as unknown
ARTICLES = frozenset(lexicon.ARTICLES.split())
ADVERBS = frozenset(lexicon.ADVERBS.split())
LOUD_ADVERBS = ADVERBS - frozenset(lexicon.QUIET_ADVERBS.split())
NOUN_OR_VERB = frozenset(lexicon.NOUN_OR_VERB.split())
TAGLESS = frozenset(lexicon.TAGLESS.split())


class Entry(NamedTuple):
    """What a word sequence means. Not `exact`: the nearest that nano has, which is worth a notice."""

    kind: str
    value: str
    exact: bool = True


@cache
def rows(table: str) -> tuple[tuple[str, str], ...]:
    """(meaning, word) for every word of a table."""
    cells = (cell.partition(":") for line in table.strip().splitlines() for cell in line.split(";"))
    return tuple(
        (left.strip(), word.strip()) for left, _, right in cells for word in right.split(",") if word.strip()
    )


def plain(text: str) -> str:
    """Lower case, no accents, straight apostrophes gone; digits and letters of every script stay."""
    folded = unicodedata.normalize("NFKD", text).casefold().replace("’", "'").replace("`", "'")
    kept = (
        c for c in folded if not "\u0300" <= c <= "\u036f" and unicodedata.category(c) not in ("Cf", "Cs")
    )
    return unicodedata.normalize("NFC", "".join(kept))


def key(phrase: str) -> tuple[str, ...]:
    """The words of a phrase that matter when it is looked up."""
    words = plain(phrase).replace("-", " ").replace("'", "").split()
    return tuple(w for w in words if w not in ARTICLES and w not in ADVERBS)


def plural(name: str) -> str:
    """The regular plural of a name's last word."""
    special = {
        "mouse": "mice",
        "goose": "geese",
        "wolf": "wolves",
        "leaf": "leaves",
        "man": "men",
        "ox": "oxen",
    }
    head, _, last = name.rpartition(" ")
    if last in special:
        last = special[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "es" if last.endswith(("s", "x", "sh", "ch", "z")) else "s"
    return f"{head} {last}".strip()


def forms(verb: str) -> list[str]:
    """A verb in the forms that prompts use; of a phrase the first word is bent."""
    first, _, rest = verb.partition(" ")
    stem = first[:-1] if first.endswith("e") else first
    third = plural(first) if not first.endswith("o") else first + "es"
    bent = [first, third, stem + "ing", stem + "ed"]
    bent += [w for base, w in rows(lexicon.IRREGULAR) if base == first]
    return [f"{w} {rest}".strip() for w in bent]


@lru_cache(maxsize=1)
def nano_names() -> tuple[str, ...]:
    """Names of the objects that nano was trained on."""
    return tuple(atlas.artworks()[k].name for k in atlas.nano_vocabulary())


@lru_cache(maxsize=1)
def readings() -> dict[str, dict[str, tuple[str, str]]]:
    """Verb class -> direction that is said ("-" for none) -> motion and direction of the world."""
    table: dict[str, dict[str, tuple[str, str]]] = {}
    for name, line in lexicon.CLASSES.items():
        cells = (cell.split() for cell in line.split(","))
        table[name] = {said: (motion, direction) for said, motion, direction in cells}
    return table


@lru_cache(maxsize=1)
def _hand_picks() -> dict[tuple[str, ...], list[str]]:
    picks: dict[tuple[str, ...], list[str]] = {}
    for name, other in rows(lexicon.NEAR):
        picks.setdefault(key(other), []).append(name)
    return picks


@lru_cache(maxsize=1)
def _telling_tags() -> dict[str, frozenset[str]]:
    return {a.name: frozenset(map(plain, a.tags)) - TAGLESS for a in atlas.artworks()}


@lru_cache(maxsize=4096)
def stands_for(word: str) -> tuple[str, ...]:
    """Nano's objects in the order in which they stand for something that nano does not know."""
    picked, names, tags = list(_hand_picks().get(key(word), ())), atlas.by_name(), _telling_tags()
    if word not in names:
        tagged = [name for name in names if word in tags[name]]
        known = [n for n in tagged if n in nano_names()]
        word = (known or picked or tagged or ["fox"])[0]
        picked += known
    meant = names[word]
    if not picked and meant.family in lexicon.FAMILY_STANDS:
        picked.append(lexicon.FAMILY_STANDS[meant.family])

    def likeness(name: str) -> float:
        other, shared = names[name], len(tags[word] & tags[name])
        same = meant.family == other.family, meant.colour == other.colour, meant.material == other.material
        return 4 * same[0] + 2 * shared + same[1] + 0.5 * same[2]

    return tuple(dict.fromkeys([*picked, *sorted(nano_names(), key=likeness, reverse=True)]))


@lru_cache(maxsize=1)
def index() -> tuple[dict[tuple[str, ...], Entry], int]:
    """Word sequences and their meanings, and the length of the longest; what is entered first stays."""
    found: dict[tuple[str, ...], Entry] = {}

    def enter(phrase: str, kind: str, value: str, exact: bool = True) -> None:
        if words := key(phrase):
            found.setdefault(words, Entry(kind, value, exact))

    def enter_noun(name: str, kind: str, value: str, exact: bool = True) -> None:
        enter(name, kind, value, exact)
        enter(plural(name), "many " + kind, value, exact)

    for name in nano_names():
        enter("cherries" if name == "cherries" else name, "object", name)
    for colour in lexicon.COLOURS.split():
        enter(colour, "colour", colour)
    for value, word in rows(lexicon.OTHER) + rows(lexicon.LENS_VERBS):
        enter(word, value, value)
    for table, kind in ((lexicon.DIRECTIONS, "direction"), (lexicon.SIDES, "side")):
        for value, word in rows(table):
            enter(word, kind, value)
    for background, phrases in BACKGROUND_PHRASES.items():
        for phrase in phrases:
            enter(phrase, "background", background)
    for camera, phrases in CAMERA_PHRASES.items():
        for phrase in phrases:
            enter(phrase, "camera", camera)
    for motion, phrases in MOTION_PHRASES.items():
        for phrase in phrases:
            for direction in (*MOTIONS[motion], "anticlockwise"):
                if "{d}" in phrase and (direction != "anticlockwise" or "clockwise" in MOTIONS[motion]):
                    meant = "counterclockwise" if direction == "anticlockwise" else direction
                    enter(phrase.format(d=direction), "motion", f"{motion} {meant}")
                elif "{d}" not in phrase and direction != "anticlockwise":
                    enter(phrase, "motion", f"{motion} {direction}")
    for name in nano_names():
        enter_noun(name, "object", name)
    for name, other in rows(lexicon.SAME):
        enter_noun(other, "object", name)
    for value, verb in rows(lexicon.VERBS):
        for form in forms(verb):
            enter(form, "verb", value.rstrip("*"), not value.endswith("*"))
    for value, phrase in rows(lexicon.CAMERAS_SAID):
        enter(phrase, "camera", value.rstrip("*"), not value.endswith("*"))
    for preposition in ("", "in ", "on ", "at ", "under ", "by "):
        for value, place in rows(lexicon.PLACES):
            enter(preposition + place, "background", value)
            enter(preposition + plural(place), "background", value)
    for value, place in rows(lexicon.HINTS):
        enter(place, "hint", value)
    for word in lexicon.PEOPLE.split():
        enter(word, "person", word)
    for _, other in rows(lexicon.NEAR):
        enter_noun(other, "like", other, False)
    for artwork in atlas.artworks():
        if artwork.name not in NOUN_OR_VERB:
            enter_noun(artwork.name, "like", artwork.name, False)
    for artwork in atlas.artworks():
        for tag in artwork.tags:
            if tag not in TAGLESS and artwork.family != "face" and len(tag) > 2:
                enter_noun(plain(tag), "like", plain(tag), False)
    for word in NOUN_OR_VERB:
        found["a", word] = Entry("like", word, False)  # no key from `enter` holds an article
        enter(word, "stop", word)
    return found, max(map(len, found))


@dataclass(frozen=True)
class Item:
    """A word sequence with a meaning; `entry.kind` is "end" between clauses and "unknown" for foreign words."""

    said: str
    entry: Entry
    after_article: bool = False


_ENDS = ",.;:!?\n()|"
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[,.;:!?\n()|]|[^\w\s]")


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, tuple[tuple[str, float], ...]]:
    """By first letter, the words that a slip can be set right to, and how like the slip must be."""
    words: dict[str, dict[str, float]] = {}
    own = {word for name in nano_names() for word in key(name)}
    for sequence, entry in index()[0].items():
        thing = entry.kind.endswith("object") and len(sequence) == 1
        if thing or (len(sequence) == 1 and entry.kind in ("verb", "direction", "background", "camera")):
            words.setdefault(sequence[0][0], {})[sequence[0]] = 0.9
    for word in own:
        words.setdefault(word[0], {})[word] = 0.8 if len(word) > 6 else 0.85
    return {letter: tuple(group.items()) for letter, group in words.items()}


@lru_cache(maxsize=1)
def _all_words() -> frozenset[str]:
    return frozenset(word for sequence in index()[0] for word in sequence)


@lru_cache(maxsize=4096)
def _typo(word: str) -> str | None:
    """The known word that this one is a slip of, if one is close: many ordinary words are near a known one too."""
    if not 5 <= len(word) <= 16 or not word.isascii() or not word.isalpha():
        return None
    best, found = 0.0, None
    matcher = SequenceMatcher(None, "", word)
    for other, needed in _vocabulary().get(word[0], ()):
        if abs(len(other) - len(word)) > 2 or len(other) < 4:
            continue
        if needed < 0.9 and sorted(other) == sorted(word):
            needed = 0.7  # letters in the wrong order
        needed = max(needed, best)
        matcher.set_seq1(other)
        if matcher.real_quick_ratio() >= needed and matcher.quick_ratio() >= needed:
            ratio = matcher.ratio()
            if ratio >= needed and ratio > best:
                best, found = ratio, other
    return found


@lru_cache(maxsize=4096)
def _picture_words(symbol: str) -> str:
    """What an emoji shows, as words, where the lexicon has them; else the emoji itself."""
    name = plain(unicodedata.name(symbol, ""))
    for words in (name, name.removesuffix(" face"), name.partition(" with ")[0], name.rpartition(" ")[2]):
        entry = index()[0].get(key(words))
        if entry and entry.kind in ("object", "like", "background", "hint"):
            return f" {words} "
    return f" {symbol} "


def items(prompt: str, notices: list[str]) -> Iterator[Item]:
    """Cut a prompt into what the lexicon knows, longest sequences first."""
    table, longest = index()
    text = "".join(_picture_words(c) if unicodedata.category(c) == "So" else c for c in prompt)
    tokens: list[tuple[str, bool]] = []  # word, whether an article stood before it
    lookups, after_article = 0, False
    for token in _TOKEN.findall(plain(text)):
        word = token.removesuffix("'s").replace("'", "")
        if word in ARTICLES:
            after_article = True
            continue
        if len(word) > 3 and word not in _all_words() and word not in ADVERBS and lookups < MAX_TYPO_LOOKUPS:
            lookups += 1
            if meant := _typo(word):
                notices.append(f"'{word}' was read as '{meant}'.")
                word = meant
        if word[:1].isalnum() or word in _ENDS or unicodedata.category(word[:1] or " ") == "So":
            tokens.append((word, after_article))
            after_article = False
    kept = [t for t in tokens if t[0] not in ADVERBS]
    for word in dict.fromkeys(w for w, _ in tokens if w in LOUD_ADVERBS):
        yield Item(word, Entry("unknown", word))
    at = 0
    while at < len(kept):
        word, with_article = kept[at]
        if with_article and ("a", word) in table:
            yield Item(word, table["a", word], True)
            at += 1
            continue
        for length in range(min(longest, len(kept) - at), 0, -1):
            words = tuple(w for w, _ in kept[at : at + length])
            if words in table:
                yield Item(" ".join(words), table[words], with_article)
                at += length
                break
        else:
            kind = "end" if word in _ENDS else "stop" if word.isdigit() else "unknown"
            yield Item(word, Entry(kind, word), with_article)
            at += 1
