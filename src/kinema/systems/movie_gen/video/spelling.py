"""Quoted words in a prompt: what nano writes on a sign, and the prompt without them."""

from __future__ import annotations

import re

from kinema.text.byt5 import quoted_words
from kinema.text.characters import ALPHABET

LONGEST = 4  # letters that fit on a sign at 64 pixels
_BOARD = r"(?:sign ?post|sign ?board|bill ?board|sign|board|placard|poster|banner|plate|panel|label)s?"
_JOIN = r"(?:\b(?:and|with|beside|near|by|behind|behind (?:it|him|her|them)|in front of|next to|on)\s+)*"
_KIND = (
    r"(?:(?!(?:by|near|on|with|beside|behind|of|to|in|at|an?|the|and)\s)[\w-]+\s+){0,2}?"  # big red, wooden
)
_SAYS = (
    r"(?:(?:that|which|who)\s+)?(?:says?|saying|said|reads?|reading|showing|shows|labell?ed|written on|"
    r"with(?: the)? (?:words?|letters?|text|inscription)|(?:the )?(?:words?|letters?|text))?"
)
_MARK = "\x00"
_MARKS = "[\"'“”„‘’«»「」『』]"
_BEFORE = re.compile(
    rf"(?<!\w){_JOIN}(?:(?:an?|the|its|one)\s+)?{_KIND}{_BOARD}"
    rf"(?:\s+(?:on a post|hanging(?: from above)?|standing))?,?\s*{_SAYS}\s*:?\s*{_MARK}",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"{_JOIN}\b(?:that\s+)?(?:says?|reads?|saying|reading)\s+{_MARK}"
    rf"|{_JOIN}(?:the (?:words?|letters?)\s+)?{_MARK}"
    rf"\s+(?:is\s+)?(?:written\s+)?(?:on|over)\s+(?:an?|the)\s+{_KIND}{_BOARD}",
    re.IGNORECASE,
)


def take_words(prompt: str) -> tuple[str, str, list[str]]:
    """A prompt -> the rest of it, the word for a sign ("" for none), and notices.

    'a fox jumps near a red sign that says "Open"' -> ('a fox jumps', 'OPEN', [])

    A quoted text is for a sign where the prompt speaks of one, or of saying or reading; else only in capitals: people
    also quote what they mean to stress.
    """
    quotes = [text for text in quoted_words(prompt).split("\n") if text]
    rest, said = prompt, list[str]()
    for text in quotes:
        rest = re.sub(rf"{_MARKS}\s*{re.escape(text)}\s*{_MARKS}", _MARK, rest, count=1)
        told = _AFTER.sub(" ", _BEFORE.sub(" ", rest))
        if _MARK in told and text != text.upper():
            rest = rest.replace(_MARK, f" {text} ")
            continue
        rest = told.replace(_MARK, " ")
        said.append("".join(text.split()))
    if not said:
        return prompt, "", []
    notices = []
    word = "".join(c for c in said[0].upper() if c in ALPHABET)[:LONGEST]
    if len(said) > 1:
        notices.append(f"nano writes one sign; {len(said) - 1} more quoted text(s) were left out.")
    if not word:
        notices.append("nano's signs have the letters A to Z and digits; the quoted text has none of them.")
    elif word != said[0].upper():
        notices.append(f"nano's signs hold {LONGEST} letters from A to Z or digits; this one says '{word}'.")
    return re.sub(r"\s*,(?:\s*,)+", ",", rest).strip(" ,"), word, notices
