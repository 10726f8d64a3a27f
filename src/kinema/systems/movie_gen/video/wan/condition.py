"""What all solver steps of a clip share: its text as keys and values of every layer, and the rotary tables.

Wan pads every text with zeros to 512 tokens and attends to all of them. Zeros are embedded to one and the same key and
value, so n of them give n equal terms in the softmax: exp(s) + ... + exp(s) = exp(s + log n). One is kept, with log n
added to its score, and 512 keys become as many as the prompt has tokens, and one.
"""

# B batch, L text tokens, D width

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.nn.positions import Rotary
from kinema.systems.movie_gen.video.wan.config import Grid
from kinema.text.states import TextStates


@dataclass(frozen=True)
class Condition:
    """Text, ready for cross-attention, and what else all solver steps share.

    Attributes:
        source: (B, L, D) embedded text, its padding included.
        bias: None, or (B, L), added to the scores: the logarithm of how many padding tokens each key stands for.
        keys_values: per layer the keys and values (B, heads, L, head_dim), or None: each layer computes its own.
        positions: rotary tables and the token grid that they belong to, or None.
    """

    source: Tensor
    bias: Tensor | None = None
    keys_values: tuple[tuple[Tensor, Tensor], ...] | None = None
    positions: tuple[Grid, Rotary] | None = None

    def __len__(self) -> int:
        return len(self.source)


def collapse_padding(states: TextStates, tokens: int) -> tuple[TextStates, Tensor]:
    """Cut the padding of texts to what the longest needs, and one token more if there is room.

    Args:
        states: with zeros wherever the mask hides them.
        tokens: the length to which the model pads.

    Returns:
        The shorter states, and (B, L) float32: for each token the logarithm of how many it stands for. Where a text
        has several padding tokens left, they share what is to be stood for.
    """
    states = states.padded(max(1, states.embeds.shape[1]))
    places = torch.arange(1, states.mask.shape[1] + 1, device=states.mask.device)
    length = min(int((states.mask * places).max()) + 1, tokens)
    kept = TextStates(states.embeds[:, :length], states.mask[:, :length]).padded(length)
    hidden = tokens - kept.mask.sum(1)  # (B,)
    each = (hidden / (~kept.mask).sum(1).clamp_min(1)).clamp_min(1)
    return kept, torch.where(kept.mask, 0.0, each.log()[:, None])
