"""What every text encoder offers to a generator, official or nano."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kinema.text.states import TextStates


class TextEncoder(Protocol):
    """Prompts in, token states out. `dim` is the width of the states, `max_tokens` the longest sequence."""

    dim: int
    max_tokens: int

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts: embeds (B, L, dim) and mask (B, L) with L <= max_tokens; longer prompts are cut."""
        ...
