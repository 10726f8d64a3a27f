"""What the first stage sees and what it makes of it, as pictures (2303.13496, section 3.1)."""

# B batch, H W rows and columns, N tokens, K kept

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.nn import MaskedAutoencoder, random_keep
from kinema.nn.masked_autoencoder import masked_of, pixels_of

GREY = 0.5  # of what is hidden


@dataclass(frozen=True)
class Reconstruction:
    """Three pictures of one size (B, 3, H, W), in [0, 1]: what the encoder saw, what came back, the whole."""

    seen: Tensor
    filled: Tensor
    whole: Tensor

    def sheet(self) -> Tensor:
        """One row a picture, in the order above: uint8 (rows, columns, 3)."""
        rows = torch.cat(
            [torch.cat([*three], 2) for three in zip(self.seen, self.filled, self.whole, strict=True)], 1
        )
        return (rows.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)


@torch.no_grad()
def reconstruct(
    model: MaskedAutoencoder,
    images: Tensor,
    generator: torch.Generator,
    masked: float,
    mean: Tensor,
    std: Tensor,
) -> Reconstruction:
    """Hide a share of the patches and let the decoder fill them in; what was seen stays as it was.

    The network predicts patches brought to mean 0 and variance 1: brightness and contrast of each are the true ones.

    Args:
        images: (B, 3, H, W), normalised. mean, std: of that normalisation, (3, 1, 1).
    """
    tokens = model.tokens(images)
    noise = torch.rand(len(images), tokens, generator=generator, device=generator.device)
    keep = random_keep(noise.to(images.device), max(1, int(tokens * (1 - masked))))
    guess = pixels_of(model(images, keep).float(), images, model.patch, "patch") * std + mean
    rows, columns = (size // side for size, side in zip(images.shape[-2:], model.patch[1:], strict=True))
    hidden = masked_of(keep, tokens).view(-1, 1, rows, columns)
    hidden = hidden.repeat_interleave(model.patch[1], 2).repeat_interleave(model.patch[2], 3)
    whole = images * std + mean
    return Reconstruction(
        torch.where(hidden, torch.full_like(whole, GREY), whole), torch.where(hidden, guess, whole), whole
    )
