"""A Wan of a few thousand weights, none of them zero, and diffusers' own at the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinema.systems.movie_gen.video.wan.config import PRESETS, WanConfig
from kinema.systems.movie_gen.video.wan.keys import load_state
from kinema.systems.movie_gen.video.wan.model import WanTransformer
from kinema.text.states import TextStates
from tests.parity import peer

TINY = PRESETS["tiny"]


def stirred(module: nn.Module, seed: int = 0) -> Any:
    """Every parameter random: zeros and ones at initialisation would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = "norm" in name and name.endswith("weight")
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(1 + 0.3 * noise if gain else noise / fan_in**0.5)
    return module.eval()


def build_peer(config: WanConfig) -> nn.Module:
    """diffusers' WanTransformer3DModel of the same settings."""
    return peer("diffusers").WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.dim // config.num_heads,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.hidden,
        num_layers=config.depth,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=config.norm_eps,
        rope_max_seq_len=64,
    )


@dataclasses.dataclass(frozen=True)
class Batch:
    latent: Tensor
    t: Tensor
    text: TextStates

    def padded_text(self, config: WanConfig = TINY) -> Tensor:
        """What diffusers' pipeline hands to its model: zeros behind the prompt, up to the full length."""
        states = self.text.padded(config.text_tokens)
        return states.embeds * states.mask[..., None]


@pytest.fixture
def wan() -> WanTransformer:
    return stirred(WanTransformer(TINY))


@pytest.fixture
def pair() -> tuple[WanTransformer, nn.Module]:
    """Ours and diffusers' at the same weights, which went through the key map."""
    theirs = stirred(build_peer(TINY))
    ours = WanTransformer(TINY)
    load_state(ours, theirs.state_dict())
    return ours.eval(), theirs


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Latents, times and texts of different lengths: of 5 tokens, 3, and 9 (all that come)."""

    def make(batch: int = 2, size: tuple[int, int, int] = (3, 4, 6), seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        mask = torch.arange(9) < torch.tensor([5, 3, 9, 1])[torch.arange(batch) % 4, None]
        return Batch(
            torch.randn(batch, TINY.latent_channels, *size, generator=generator),
            torch.rand(batch, generator=generator),
            TextStates(torch.randn(batch, 9, TINY.text_dim, generator=generator), mask),
        )

    return make
