"""What a sound codec is trained on: mel spectra at many scales, and the games with discriminators.

The scales and weights are those of the Descript Audio Codec. Letters: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.codecs.losses import hinge_discriminator, hinge_generator
from kinema.nn import MelSettings, log_mel

MEL_SCALES = ((5, 32), (10, 64), (20, 128), (40, 256), (80, 512), (160, 1024), (320, 2048))  # bands, window
Game = Literal["least_squares", "hinge"]
Maps = list[list[Tensor]]  # of each discriminator its layers' outputs, the scores last


def mel_scale(rate: int, bands: int, window: int) -> MelSettings:
    """One scale: Slaney's bands over magnitudes, a quarter of the window between frames, log10 from 1e-5 up."""
    return MelSettings(
        rate=rate, bands=bands, window=window, hop=window // 4, fft=window, power=1.0, log="log10", floor=1e-5
    )


def multi_scale_mel(
    output: Tensor, target: Tensor, rate: int, scales: Sequence[tuple[int, int]] = MEL_SCALES
) -> Tensor:
    """Sum over the scales of the mean absolute difference of log10-mel spectra; sounds are (B, 1, N)."""
    total = output.new_zeros(())
    for bands, window in scales:
        settings = mel_scale(rate, bands, window)
        with torch.no_grad():
            wanted = log_mel(target.float(), settings)
        total = total + F.l1_loss(log_mel(output.float(), settings), wanted)
    return total


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Scores of real sounds should be 1, of made ones 0."""
    return (1.0 - real).square().mean() + fake.square().mean()


def least_squares_generator(fake: Tensor) -> Tensor:
    """Scores of made sounds should be 1."""
    return (1.0 - fake).square().mean()


GAMES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "least_squares": (least_squares_discriminator, least_squares_generator),
    "hinge": (hinge_discriminator, hinge_generator),
}


@dataclass(frozen=True)
class GameLosses:
    """What each player wants small: the discriminator its own, the codec the other two. Summed over discriminators."""

    discriminator: Tensor
    generator: Tensor
    features: Tensor


def feature_matching(fake: Maps, real: Maps) -> Tensor:
    """Sum over layers, scores left out, of the mean absolute difference of what the discriminators see."""
    total = fake[0][0].new_zeros(())
    for ours, theirs in zip(fake, real, strict=True):
        for a, b in zip(ours[:-1], theirs[:-1], strict=True):
            total = total + F.l1_loss(a, b.detach())
    return total


def play(discriminators: nn.Module, real: Tensor, fake: Tensor, game: Game = "least_squares") -> GameLosses:
    """Both players' losses of one batch of sounds (B, 1, N), for one backward pass over their sum.

    The discriminator's loss sees the made sound without its history, and the codec's losses see the discriminators
    with their weights held fixed. So the gradients of the sum are those that two separate passes would give, and one
    optimiser over all parameters is two optimisers side by side (an update at a time of both players, where the
    original takes turns).
    """
    judge, deceive = GAMES[game]
    seen_real: Maps = discriminators(real)
    seen_fake: Maps = discriminators(fake.detach())
    own = sum((judge(a[-1], b[-1]) for a, b in zip(seen_real, seen_fake, strict=True)), real.new_zeros(()))
    fixed = {name: value.detach() for name, value in discriminators.named_parameters()}
    maps: Maps = torch.func.functional_call(discriminators, fixed, (fake,))
    wanted = sum((deceive(layers[-1]) for layers in maps), real.new_zeros(()))
    return GameLosses(own, wanted, feature_matching(maps, seen_real))
