"""ByT5: a text encoder of bytes, which sees only the words that are to be drawn.

A generator that must write "OPEN" on a sign needs its letters; what the sign looks like the other encoders tell. So
of a prompt ByT5 gets the quoted strings and nothing else, and of a prompt without any it gets nothing at all.
"""

from __future__ import annotations

import re

import torch

from kinema.text.published import Files
from kinema.text.t5 import T5Config, T5Encoder, load_t5

PAD, END, FIRST_BYTE = 0, 1, 3  # 2 is for unknown tokens, which bytes do not have

# Letters and digits of scripts that write apostrophes; the Chinese, Japanese and Korean ones do not.
_LETTER = r"[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]"
# Words that begin with an apostrophe: rock 'n' roll, and 'em, 'til, '90s unless a quote follows at once.
_ELISION = r"(?:n['’]|(?:em|til|tis|twas|cause|\d0s)\b(?!['’]))"
_OPEN = rf"(?:(?<!{_LETTER})'|‘)(?!{_ELISION})(?=\S)"
_CLOSE = rf"(?<=\S)['’](?!{_LETTER})"
_QUOTED = re.compile(
    r"“([^“”\"]*)[”\"]"
    r"|„([^„“”\"]*)[“”\"]"
    r"|(?<!\d)\"([^\"“”]*)[\"”]"  # behind a digit it is an inch
    r"|«([^«»]*)»"
    r"|「([^「」]*)」"
    r"|『([^『』]*)』"
    rf"|{_OPEN}((?:(?!{_OPEN}).)+?){_CLOSE}",
    re.DOTALL | re.IGNORECASE,
)


def quoted_words(prompt: str) -> str:
    """The quoted strings of a prompt, one a line, or "" if there are none.

    Double quotes are straight or typographic (also „German“, «French» and 「CJK」 ones). Single quotes count where
    they are not apostrophes: `the sign 'don't panic'` quotes "don't panic", and `the dogs' bowl` nothing. Of quotes
    within quotes the outer count.
    """
    found = ("".join(part for part in match.groups() if part) for match in _QUOTED.finditer(prompt))
    return "\n".join(text.strip() for text in found if text.strip())


def byte_ids(text: str, max_tokens: int) -> list[int]:
    """The UTF-8 bytes of a text, each plus 3, then the end token: at most `max_tokens` ids, the end among them."""
    data = text.encode("utf-8", "replace")[: max_tokens - 1]
    return [*(byte + FIRST_BYTE for byte in data), END]


def quoted_ids(prompt: str, max_tokens: int) -> list[int]:
    """`byte_ids` of the quoted words; no ids, not even the end token, where nothing is quoted."""
    words = quoted_words(prompt)
    return byte_ids(words, max_tokens) if words else []


def load_byt5(
    weights: Files,
    preset: str | T5Config = "byt5-small",
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> T5Encoder:
    """A frozen ByT5 that reads quoted words. For whole prompts use `load_t5(preset, weights, byte_ids)`."""
    return load_t5(preset, weights, quoted_ids, dtype=dtype, device=device)
