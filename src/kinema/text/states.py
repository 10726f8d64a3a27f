"""What a text encoder gives to a generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextStates:
    """Encoded prompts: embeds (B, L, D), and mask (B, L) bool, False at padding."""

    embeds: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.embeds.ndim != 3 or self.mask.shape != self.embeds.shape[:2] or self.mask.dtype != torch.bool:
            raise ValueError(
                "text states are embeds (B, L, D) with a bool mask (B, L); "
                f"got embeds {tuple(self.embeds.shape)}, mask {tuple(self.mask.shape)} of {self.mask.dtype}"
            )

    def __len__(self) -> int:
        return len(self.embeds)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TextStates:
        """The same states elsewhere; dtype is that of the embeds."""
        return TextStates(self.embeds.to(device=device, dtype=dtype), self.mask.to(device=device))

    def padded(self, length: int) -> TextStates:
        """The same states with padding at their end up to `length` tokens."""
        pad = length - self.embeds.shape[1]
        if pad < 0:
            raise ValueError(f"states of {self.embeds.shape[1]} tokens cannot be padded to {length}")
        functional = torch.nn.functional
        return TextStates(functional.pad(self.embeds, (0, 0, 0, pad)), functional.pad(self.mask, (0, pad)))

    @staticmethod
    def cat(states: Sequence[TextStates]) -> TextStates:
        """One batch of several, each padded at its end to the longest."""
        length = max(part.embeds.shape[1] for part in states)
        same = [part.padded(length) for part in states]
        return TextStates(torch.cat([part.embeds for part in same]), torch.cat([part.mask for part in same]))
