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

    @staticmethod
    def cat(states: Sequence[TextStates]) -> TextStates:
        """One batch of several, each padded at its end to the longest."""
        length = max(part.embeds.shape[1] for part in states)
        pads = [length - part.embeds.shape[1] for part in states]
        embeds = [
            torch.nn.functional.pad(part.embeds, (0, 0, 0, pad))
            for part, pad in zip(states, pads, strict=True)
        ]
        masks = [torch.nn.functional.pad(part.mask, (0, pad)) for part, pad in zip(states, pads, strict=True)]
        return TextStates(torch.cat(embeds), torch.cat(masks))
