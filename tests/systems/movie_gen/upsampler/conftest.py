"""An upsampler of a few thousand weights over a codec of 4x4 blocks, every parameter off its start."""

from __future__ import annotations

import pytest
import torch

from kinema.systems.movie_gen.upsampler.finish import Finish
from kinema.systems.movie_gen.upsampler.frames import fitted
from kinema.systems.movie_gen.upsampler.model import Upsampler, UpsamplerConfig
from kinema.systems.movie_gen.upsampler.parts import UpsamplerParts
from kinema.systems.movie_gen.video.model import TransformerConfig

TINY = UpsamplerConfig(
    transformer=TransformerConfig(
        dim=32, depth=2, num_heads=2, hidden=48, latent_channels=12, condition_channels=12, text_dims=(),
        patch=(1, 1, 1), grid=(4, 6, 6), qk_norm=True,
    ),
    overlap=(2, 2, 2),
    residual=True,
)  # fmt: skip


def smooth_clips(count: int, frames: int, size: int, seed: int = 0) -> torch.Tensor:
    """Clips (count, 3, frames, size, size) in [-1, 1] with something to see in every channel."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 2, size // 4, size // 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (frames, size, size), mode="trilinear").clamp(-1, 1)


@pytest.fixture
def parts() -> UpsamplerParts:
    torch.manual_seed(0)
    upsampler = Upsampler(TINY)
    with torch.no_grad():
        for parameter in upsampler.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        upsampler.unit.copy_(torch.linspace(0.1, 0.4, 12))
    finish = Finish(width=8, depth=1)
    with torch.no_grad():
        finish.convs[-1].weight.normal_(std=0.01)
    return UpsamplerParts(fitted([smooth_clips(4, 4, 32)], stride=4, channels=12), upsampler, finish)
