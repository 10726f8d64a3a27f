"""Labels that are not one class: smoothing, and the two ways of mixing pictures that vision transformers train with."""

# B batch, C classes, H W rows and columns

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.errors import UserError


def smooth_targets(labels: Tensor, num_classes: int, smoothing: float = 0.1) -> Tensor:
    """Class numbers (B,) -> (B, C): 1 - smoothing on the class, and smoothing shared by all of them."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of -sum(targets * log_softmax(logits)), in float32; both (B, C)."""
    return -(targets * logits.float().log_softmax(1)).sum(1).mean()


def mixed(
    images: Tensor, targets: Tensor, generator: torch.Generator, mixup: float = 0.8, cutmix: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in another order, by mixup or by CutMix: images (B, ..., H, W), targets (B, C).

    One of the two is drawn for the whole batch, each half of the time where both are on. Mixup adds pictures up, CutMix
    puts a rectangle of one into the other, in all frames alike; targets are mixed by the shares that are seen.

    Args:
        mixup, cutmix: both parameters of the Beta distribution that the share is drawn from; 0 switches it off.
    """
    if min(mixup, cutmix) < 0:
        raise UserError(f"mixup={mixup} and cutmix={cutmix} must not be negative: 0 switches them off")
    if not mixup and not cutmix:
        return images, targets
    order = torch.randperm(len(images), generator=generator, device=generator.device).to(images.device)
    cut = not mixup or (cutmix > 0 and _uniform(generator) < 0.5)
    share = _beta(cutmix if cut else mixup, generator)
    if cut:
        rows, columns = images.shape[-2:]
        top, bottom = _side(rows, share, generator)
        left, right = _side(columns, share, generator)
        images = images.clone()
        images[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (rows * columns)
    else:
        images = share * images + (1 - share) * images[order]
    return images, share * targets + (1 - share) * targets[order]


def _side(length: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    """First and last pixel of a rectangle whose middle is anywhere, so that it may hang over the border."""
    size, middle = int(length * (1 - share) ** 0.5), int(length * _uniform(generator))
    return max(middle - size // 2, 0), min(middle + size // 2, length)


def _beta(a: float, generator: torch.Generator) -> float:
    """Beta(a, a) by Johnk's rejection, since PyTorch's own takes no generator."""
    while True:
        x, y = (_uniform(generator) ** (1 / a) for _ in range(2))
        if 0 < x + y <= 1:
            return x / (x + y)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device))
