"""What OmniMAE minimises, and how one loaded clip serves several times (2206.08356, section 3.2).

Targets are pixels in [0, 1], normalised within each patch and each colour; the network's input has its mean and
deviation removed, which is undone first. A batch is of one kind, images or clips, and there is no weight between them.
"""

# B batch, R replicas, T frames, H W rows and columns, N tokens

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import MaskedAutoencoder, masked_loss, pixel_targets, pixels_of, random_keep

IMAGE_MASKED: Final = 0.90  # of an image's patches, by the paper's abstract
CLIP_MASKED: Final = 0.95
REPLICAS: Final = 4  # of each clip that was decoded


def kept_tokens(tokens: int, masked: float) -> int:
    """How many the encoder sees: the dropped ones are rounded down, and one stays at least."""
    if not 0 <= masked < 1:
        raise UserError(f"masked={masked} must be at least 0 and below 1")
    return max(1, tokens - int(masked * tokens))


def draw_keep(model: MaskedAutoencoder, x: Tensor, masked: float, generator: torch.Generator) -> Tensor:
    """Random places over space and time that the encoder may see: (B, K)."""
    tokens = model.tokens(x)
    noise = torch.rand(len(x), tokens, generator=generator, device=generator.device)
    return random_keep(noise.to(x.device), kept_tokens(tokens, masked))


def masking_loss(
    model: MaskedAutoencoder,
    x: Tensor,
    generator: torch.Generator,
    preprocessing: Preprocessing,
    masked: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of images (B, 3, H, W) or of clips (B, 3, T, H, W), normalised, and what to log.

    masked: the share of dropped tokens; without one 0.90 for images and 0.95 for clips.
    """
    image = x.ndim == 4
    keep = draw_keep(
        model, x, (IMAGE_MASKED if image else CLIP_MASKED) if masked is None else masked, generator
    )
    loss = reconstruction_loss(model, x, keep, preprocessing)
    return loss, {"masked_image" if image else "masked_clip": loss.detach()}


def reconstruction_loss(
    model: MaskedAutoencoder, x: Tensor, keep: Tensor, preprocessing: Preprocessing
) -> Tensor:
    """Mean squared error over the dropped tokens of the whole batch; `keep` (B, K) are the others."""
    target = pixel_targets(preprocessing.pixels(x), model.patch, "channel")
    return masked_loss(model(x, keep), target, keep)


@torch.no_grad()
def reconstructed(model: MaskedAutoencoder, x: Tensor, keep: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The prediction as pixels in [0, 1], in the shape of `x`, for looking at.

    Mean and contrast of each patch are the true ones: the network does not predict them.
    """
    pixels = preprocessing.pixels(x)
    return pixels_of(model(x, keep), pixels, model.patch, "channel").clamp(0, 1)


def replicated(
    clips: Tensor,
    view: Callable[[Tensor, torch.Generator], Tensor],
    generator: torch.Generator,
    replicas: int = REPLICAS,
) -> Tensor:
    """Several views of each clip, so that decoding is paid once: (B, 3, T, H, W) -> (B*R, 3, T, H', W').

    Views of a clip stand together; the masks of a batch are drawn later, another for each.

    Args:
        view: a clip (3, T, H, W) and a generator to one random crop of it; clips are not mirrored, since left and
            right mean something in them.
    """
    if replicas < 1:
        raise UserError(f"replicas={replicas} must be at least 1")
    return torch.stack([view(clip, generator) for clip in clips for _ in range(replicas)])


def is_clip_step(step: int, clip_share: float, seed: int = 0) -> bool:
    """Whether a step trains on clips: random with this share, the same for the same step and seed on every process."""
    generator = torch.Generator().manual_seed((seed << 32) + step)
    return bool(torch.rand((), generator=generator) < clip_share)
