"""Hashtags as labels: written forms to canonical ones, a vocabulary of them, and targets that share one between tags.

vocabulary = Vocabulary.build(images_tags, aliases={"pup": "dog"}, min_count=5)
targets = tag_targets([vocabulary.encode(tags) for tags in batch], len(vocabulary))
"""

# B batch, V tags of the vocabulary

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.settings import known_settings, plain_settings


def plain_tag(written: str) -> str:
    """One form for what differs in sign, case, accents and punctuation: "#Piñata-Party" -> "pinataparty".

    Letters of every script stay, with the vowel signs of those that need them; nothing is left of a tag without
    letters and digits.
    """
    letters = unicodedata.normalize("NFKD", written.casefold())
    return unicodedata.normalize("NFC", "".join(c for c in letters if c.isalnum() or _is_vowel_sign(c)))


def _is_vowel_sign(c: str) -> bool:
    """A mark that is part of its script's spelling; not an accent, nor what picks the form of an emoji."""
    accent = "\u0300" <= c <= "\u036f" or "\ufe00" <= c <= "\ufe0f"
    return unicodedata.category(c) in ("Mn", "Mc") and not accent


def singulars(tag: str) -> tuple[str, ...]:
    """What an English plural may be the plural of, the likeliest first: "ponies" -> ("pony", "ponie")."""
    if len(tag) < 4 or not tag.endswith("s") or tag.endswith("ss"):
        return ()
    forms = [tag[:-1]]
    if tag.endswith("ies"):
        forms.insert(0, tag[:-3] + "y")
    elif tag.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        forms.insert(0, tag[:-2])
    return tuple(forms)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The canonical tags that a network predicts, the most frequent first.

    counts: images that have each tag. aliases: other written forms, plain, and the canonical tag that each means.
    """

    tags: tuple[str, ...]
    counts: tuple[int, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))  # JSON gives lists
        object.__setattr__(self, "counts", tuple(self.counts))
        if len(self.tags) != len(self.counts) or len(set(self.tags)) != len(self.tags) or not self.tags:
            raise UserError("a vocabulary needs different tags, at least one, and a count for each")
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        strangers = [alias for alias, tag in self.aliases.items() if tag not in numbers]
        if strangers:
            raise UserError(f"'{strangers[0]}' means '{self.aliases[strangers[0]]}', which is no tag")
        numbers |= {alias: numbers[tag] for alias, tag in self.aliases.items() if alias not in numbers}
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.tags)

    @classmethod
    def build(
        cls,
        images: Iterable[Iterable[str]],
        *,
        aliases: Mapping[str, str] | None = None,
        keep: Iterable[str] | None = None,
        min_count: int = 1,
        size: int | None = None,
    ) -> Vocabulary:
        """From the written tags of every image.

        A plural goes to its singular where that was written as well (so "glasses" stays, unless somebody wrote
        "glass"). A tag counts once for an image.

        Args:
            aliases: synonyms, word -> the word that stands for both; as in WordNet's synsets. Chains are followed.
            keep: tags that may enter, for instance the nouns of a dictionary; None for all.
            min_count: images that a tag needs at least. size: tags at most, the most frequent.

        Raises:
            UserError: nothing is left.
        """
        synonyms = {plain_tag(word): plain_tag(tag) for word, tag in (aliases or {}).items()}
        allowed = None if keep is None else {_followed(plain_tag(word), synonyms) for word in keep}
        written = [tuple(dict.fromkeys(filter(None, (plain_tag(tag) for tag in image)))) for image in images]
        known = {tag for image in written for tag in image} | set(synonyms) | set(synonyms.values())
        means: dict[str, str] = {}
        for tag in known:
            single = next((form for form in singulars(tag) if form in known), tag)
            means[tag] = _followed(tag if tag in synonyms else single, synonyms)
        counts = Counter(tag for image in written for tag in {means[each] for each in image})
        chosen = [
            (tag, count)
            for tag, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            if count >= min_count and (allowed is None or tag in allowed)
        ][:size]
        if not chosen:
            raise UserError(
                f"no tag of {len(counts)} is left (min_count={min_count}): give more images, or ask for less"
            )
        tags = {tag for tag, _ in chosen}
        return cls(
            tags=tuple(tag for tag, _ in chosen),
            counts=tuple(count for _, count in chosen),
            aliases={form: tag for form, tag in sorted(means.items()) if tag in tags and form != tag},
        )

    def encode(self, written: Iterable[str]) -> tuple[int, ...]:
        """Numbers of the tags that somebody wrote, each once, in their order; unknown ones are left out."""
        found: dict[int, None] = {}
        for word in written:
            number = self.number(word)
            if number is not None:
                found[number] = None
        return tuple(found)

    def number(self, written: str) -> int | None:
        """The number of a tag however it is written; None where it is not in the vocabulary."""
        numbers: Mapping[str, int] = self.__dict__["_numbers"]
        tag = plain_tag(written)
        return next((numbers[form] for form in (tag, *singulars(tag)) if form in numbers), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vocabulary:
        """The inverse of `to_dict`."""
        return cls(**known_settings(cls, values))


def tag_targets(images: Sequence[Sequence[int]], size: int) -> Tensor:
    """1/K on each of an image's K tags, so that every row adds up to 1: float32 (B, size).

    Raises UserError for an image without tags, which has nothing to teach.
    """
    targets = torch.zeros(len(images), size)
    for row, tags in enumerate(images):
        if not tags:
            raise UserError(
                f"image {row} of the batch has no tag of the vocabulary: leave it out of the data set"
            )
        targets[row, list(dict.fromkeys(tags))] = 1 / len(set(tags))
    return targets


def _followed(tag: str, synonyms: Mapping[str, str]) -> str:
    seen = {tag}
    while tag in synonyms and synonyms[tag] not in seen:
        tag = synonyms[tag]
        seen.add(tag)
    return tag
