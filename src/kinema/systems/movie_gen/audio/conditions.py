"""What the audio transformer is told: the known sound, the frames, the words. Each can be taken away by itself."""

# B batch, C latent channels, N latent frames (25 a second), F frame feature width, L text tokens

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.text.states import TextStates


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Context, frames and text of a batch.

    Attributes:
        context: (B, C, N) latent where the sound is known, zero where it is to be made.
        visual: (B, N, F) features of the video frame that is shown at each latent frame.
        seen: (B, N) bool, False where there is no frame: nothing is then added.
        text: token states; a text of which no token is visible says nothing.
    """

    context: Tensor
    visual: Tensor
    seen: Tensor
    text: TextStates

    def __post_init__(self) -> None:
        batch, _, length = self.context.shape
        fits = self.visual.shape[:2] == (batch, length) and self.seen.shape == (batch, length)
        if not fits or len(self.text) != batch or self.seen.dtype != torch.bool:
            raise UserError(
                f"the conditions do not fit each other: context {tuple(self.context.shape)} (B, C, N), visual "
                f"{tuple(self.visual.shape)} (B, N, F), seen {tuple(self.seen.shape)} (B, N) bool, "
                f"{len(self.text)} texts"
            )

    def __len__(self) -> int:
        return len(self.context)

    @property
    def length(self) -> int:
        """Latent frames N."""
        return self.context.shape[2]

    def without(self, audio: Tensor, video: Tensor, text: Tensor) -> Conditions:
        """Conditions of which some samples lose some: masks (B,) bool, True takes away."""
        return Conditions(
            context=self.context.masked_fill(audio[:, None, None], 0.0),
            visual=self.visual,
            seen=self.seen & ~video[:, None],
            text=TextStates(self.text.embeds, self.text.mask & ~text[:, None]),
        )

    def nothing(self) -> Conditions:
        """The unconditional case of guidance: context, frames and text are all gone."""
        gone = torch.ones(len(self), dtype=torch.bool, device=self.context.device)
        return self.without(gone, gone, gone)

    def part(self, start: int, length: int) -> Conditions:
        """The conditions of the latent frames from `start` on."""
        here = slice(start, start + length)
        return Conditions(
            context=self.context[:, :, here],
            visual=self.visual[:, here],
            seen=self.seen[:, here],
            text=self.text,
        )

    @staticmethod
    def cat(one: Conditions, other: Conditions) -> Conditions:
        """One batch of two."""
        return Conditions(
            context=torch.cat([one.context, other.context]),
            visual=torch.cat([one.visual, other.visual]),
            seen=torch.cat([one.seen, other.seen]),
            text=TextStates.cat([one.text, other.text]),
        )

    def to(self, device: torch.device | str) -> Conditions:
        """The same conditions elsewhere."""
        return Conditions(
            context=self.context.to(device),
            visual=self.visual.to(device),
            seen=self.seen.to(device),
            text=self.text.to(device),
        )
