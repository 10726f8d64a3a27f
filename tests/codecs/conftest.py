from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kinema.codecs import Codec, ImageVAEConfig, TAEConfig
from kinema.codecs.blocks import TemporalAttention, TemporalConv

TINY = ImageVAEConfig(
    latent_channels=4, base_channels=8, multipliers=(1, 2, 2), encoder_blocks=(1, 1, 1), decoder_blocks=(2, 2, 2),
    norm_groups=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> ImageVAEConfig:
    """The published layout at toy widths: spatial stride 4."""
    return TINY


@pytest.fixture
def tiny_video() -> TAEConfig:
    """The published layout of the temporal autoencoder at toy widths: strides 4x4x4."""
    return TAEConfig(image=TINY, temporal_strides=(2, 2))


def _shake(codec: Codec) -> Codec:
    """Move everything off its initial value: zeros and identities hide errors."""
    with torch.no_grad():
        for layer in codec.modules():
            if isinstance(layer, (TemporalConv, TemporalAttention)):
                for parameter in layer.parameters(recurse=isinstance(layer, TemporalAttention)):
                    parameter.add_(0.1 * torch.randn_like(parameter))
        for parameter in (codec.encoder.conv_out.weight, codec.decoder.conv_out.weight):
            parameter.add_(0.1 * torch.randn_like(parameter))
    return codec


@pytest.fixture
def shake() -> Callable[[Codec], Codec]:
    """A function that moves every parameter off its identity or zero start."""
    return _shake
