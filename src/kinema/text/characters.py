"""Characters of the words that a picture must show: nano's counterpart of ByT5, without weights.

Like ByT5 it sees the quoted words of a prompt and nothing else. A token says which character it is and where in the
word it stands, counted from both ends; the transformer's own projection learns what that looks like.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kinema.text.byt5 import quoted_words
from kinema.text.states import TextStates

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class CharacterCodes:
    """Prompts -> TextStates of one-hot characters and places, of width `dim`; other characters share one code."""

    def __init__(self, max_tokens: int = 4) -> None:
        self.max_tokens = max_tokens
        self.dim = len(ALPHABET) + 1 + 2 * max_tokens

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """(B, max_tokens, dim) with a mask; a prompt that quotes nothing has no token, one that quotes more is cut."""
        words = ["".join(quoted_words(prompt).split()).upper()[: self.max_tokens] for prompt in prompts]
        embeds = torch.zeros(len(words), self.max_tokens, self.dim)
        mask = torch.zeros(len(words), self.max_tokens, dtype=torch.bool)
        for row, word in enumerate(words):
            for place, character in enumerate(word):
                known = ALPHABET.find(character)
                embeds[row, place, known if known >= 0 else len(ALPHABET)] = 1.0
                embeds[row, place, len(ALPHABET) + 1 + place] = 1.0
                embeds[row, place, len(ALPHABET) + 1 + self.max_tokens + len(word) - 1 - place] = 1.0
            mask[row, : len(word)] = True
        return TextStates(embeds, mask)
