"""What a codec is trained on. Every term is a mean, so that weights do not depend on the picture's size.

Letters: B batch, T H W pixel frames, rows, columns; t h w the same of the latent; C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.codecs.codec import Posterior

OUTLIER_RADIUS = 3.0  # r of the paper's outlier penalty


def kl(posterior: Posterior) -> Tensor:
    """Kullback-Leibler divergence of the posterior from a standard normal, mean over its elements."""
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(output, target)


def charbonnier(output: Tensor, target: Tensor, eps: float = 1e-2) -> Tensor:
    """Mean of sqrt(error^2 + eps^2) - eps: squared error near zero, absolute error far from it."""
    return ((output - target).square() + eps * eps).sqrt().mean() - eps


def outlier_penalty(latent: Tensor, radius: float = OUTLIER_RADIUS) -> Tensor:
    """Outlier penalty of Movie Gen (Eq. 1), mean over frames and places.

    For each frame X of a latent (B, C, t, h, w): `max(||X_ij - Mean(X)|| - r ||Std(X)||, 0)`, mean and
    standard deviation over the h x w places of each channel, norms over channels. The equation names no axes;
    these are our reading. The paper's weight of 1e5 belongs to a loss summed over pixels; with means, 0.5 to
    1 does the same.
    """
    mean = latent.mean(dim=(-2, -1), keepdim=True)
    centred = latent - mean
    spread = centred.square().mean(dim=(-2, -1)).sum(dim=1)  # (B, t): ||Std||^2 over channels
    # The guard keeps the root's gradient finite on a constant frame.
    limit = radius * (spread + 1e-12).sqrt()
    distance = (centred.square().sum(dim=1) + 1e-12).sqrt()  # (B, t, h, w)
    return F.relu(distance - limit[..., None, None]).mean()


def perceptual(
    output: Tensor, target: Tensor, features: Callable[[Tensor], Sequence[Tensor]] | None = None
) -> Tensor:
    """Distance between features of frames; output and target are (B, 3, T, H, W).

    `features` takes folded frames (B*T, 3, H, W) and returns maps (B*T, C, h, w); each map is normalised over
    its channels and compared by squared error (the form of LPIPS without its learned weights). Without
    `features` it is `multiscale_gradient`, which needs no weights.
    """
    a, b = (x.transpose(1, 2).flatten(0, 1) for x in (output, target))
    if features is None:
        return multiscale_gradient(a, b)
    total = output.new_zeros(())
    with torch.no_grad():
        wanted = features(b)
    for ours, theirs in zip(features(a), wanted, strict=True):
        total = total + (F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)).square().sum(1).mean()
    return total


def multiscale_gradient(output: Tensor, target: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute error of horizontal and vertical differences, at full, half, quarter ... resolution.

    Takes frames (F, 3, H, W). Edges weigh more than in a pixel loss, and a blurred one costs at every scale.
    """
    error = output - target  # differences and averages are linear, so they can be taken of the error
    total = error.new_zeros(())
    for scale in range(scales):
        if scale:
            error = F.avg_pool2d(error, 2)
        if min(error.shape[-2:]) < 2:
            break
        horizontal = (error[..., 1:] - error[..., :-1]).abs().mean()
        vertical = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        total = total + horizontal + vertical
    return total / scales


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of frames: strided convolutions in the manner of PatchGAN.

    Folded frames (F, 3, H, W) -> (F, 1, H/2**layers, W/2**layers); higher means more real.
    """

    def __init__(self, base_channels: int = 32, layers: int = 3, norm_groups: int = 8) -> None:
        super().__init__()
        stack: list[nn.Module] = [nn.Conv2d(3, base_channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = base_channels
        for _ in range(layers - 1):
            out = min(2 * width, 8 * base_channels)
            stack += [nn.Conv2d(width, out, 4, 2, 1), nn.GroupNorm(norm_groups, out), nn.LeakyReLU(0.2)]
            width = out
        stack.append(nn.Conv2d(width, 1, 3, 1, 1))
        self.layers = nn.Sequential(*stack)

    def forward(self, frames: Tensor) -> Tensor:
        """(F, 3, H, W) -> (F, 1, h, w)."""
        scores: Tensor = self.layers(frames)
        return scores


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator from its scores of real and of generated frames."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())


def hinge_generator(fake: Tensor) -> Tensor:
    """Hinge loss of the generator from the scores of its frames."""
    return -fake.mean()


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, limit: float = 1e4
) -> Tensor:
    """Weight that gives the adversarial term the reconstruction's gradient norm at the decoder's last layer.

    As in VQGAN: ||grad reconstruction|| / (||grad adversarial|| + 1e-4), clamped, without gradient.
    """
    first = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0]
    second = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0]
    return (first.norm() / (second.norm() + 1e-4)).clamp(0.0, limit).detach()
