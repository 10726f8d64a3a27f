"""A text-to-video system of a few thousand weights: every part of the real one, at toy widths."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kinema.codecs import ImageVAEConfig, TAEConfig, TemporalAutoencoder
from kinema.systems.movie_gen.video.model import MovieGenTransformer, TransformerConfig
from kinema.systems.movie_gen.video.parts import Parts
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import train_tokenizer

CORPUS = ["a red fox bounces to the right", "a balloon rises, snow", "fps-8, pan left: a cat, meadow"] * 3
CODEC = TAEConfig(  # strides 2x4x4
    image=ImageVAEConfig(
        latent_channels=4, base_channels=8, multipliers=(1, 2), encoder_blocks=(0, 0), decoder_blocks=(0, 0),
        norm_groups=4, patch=2, stem_kernel=1, resample="shuffle", linear_skip=True,
    ),
    temporal_strides=(2,),
    temporal_levels=(False, True),
)  # fmt: skip


def build(codec: TAEConfig, grid: tuple[int, int, int]) -> Parts:
    torch.manual_seed(0)
    text = NanoTextConfig(vocabulary_size=300, dim=16, depth=1, num_heads=2, hidden=24, max_tokens=24)
    transformer = TransformerConfig(
        dim=32, depth=2, num_heads=2, hidden=48, latent_channels=codec.image.latent_channels, text_dims=(16,),
        grid=grid, qk_norm=True,
    )  # fmt: skip
    return Parts(
        codec=TemporalAutoencoder(codec),
        text=NanoTextEncoder(text, train_tokenizer(CORPUS, text.vocabulary_size)),
        transformer=MovieGenTransformer(transformer),
        prompt_style="free",
    )


@pytest.fixture
def make_parts() -> Callable[[], Parts]:
    """Parts whose every parameter is off its start: zeros would hide errors. Clips of up to 8 frames of 16x16."""

    def make() -> Parts:
        parts = build(CODEC, (4, 4, 4))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for module in parts.modules.values():
                for parameter in module.parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            parts.codec.spec.set_statistics(torch.linspace(-0.2, 0.2, 4), torch.linspace(0.5, 1.5, 4))
        return parts

    return make


@pytest.fixture
def parts(make_parts: Callable[[], Parts]) -> Parts:
    return make_parts()


@pytest.fixture
def world_parts() -> Parts:
    """Untrained parts that take the recipe's own clips: 16 frames of 64x64 through nano's codec."""
    return build(TAEConfig.preset("nano"), (4, 8, 8))
