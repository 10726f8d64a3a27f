"""What the first stage of MAWS minimises: the normalised pixels of three quarters of the patches (2303.13496, sec. 3).

The second stage's loss is `kinema.train.mixing.soft_cross_entropy` with 1/K on each of an image's K hashtags.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError
from kinema.nn import MaskedAutoencoder, masked_loss, pixel_targets, random_keep

MASKED = 0.75  # of the patches


def masking_loss(
    model: MaskedAutoencoder, images: Tensor, generator: torch.Generator, masked: float = MASKED
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch of normalised images (B, 3, H, W), with new masks, and what to log."""
    if not 0 < masked < 1:
        raise UserError(f"masked={masked} must lie between 0 and 1")
    tokens = model.tokens(images)
    noise = torch.rand(len(images), tokens, generator=generator, device=generator.device)
    keep = random_keep(noise.to(images.device), max(1, int(tokens * (1 - masked))))
    target = pixel_targets(images, model.patch, "patch")
    loss = masked_loss(model(images, keep), target, keep)
    return loss, {"masked_pixels": loss.detach()}


def contrastive_loss(image_embeds: Tensor, text_embeds: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways over normalised embeddings (B, E): the mean of both cross-entropies of scale * I T^T."""
    logits = scale.float() * image_embeds.float() @ text_embeds.float().T
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
