"""The diffusion transformer of Movie Gen Audio (2410.13720, section 6 and Figure 28).

A plain DiT block over the frames of an audio latent: adaLN from one shared projection with a bias for each layer,
rotary positions, cross-attention to the text. Known sound comes in beside the noisy latent, video is added.
"""

# B batch, C latent channels, N latent frames, F frame feature width, L text tokens, D width

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.errors import UserError
from kinema.nn.attention import MultiHeadAttention
from kinema.nn.initial import init_layers
from kinema.nn.mlp import SwiGLU
from kinema.nn.modulation import LayerBias, SharedModulation, TimestepEmbedding
from kinema.nn.norms import RMSNorm
from kinema.nn.positions import Rotary, rotary
from kinema.settings import known_settings, named_preset, plain_settings
from kinema.systems.movie_gen.audio.conditions import Conditions
from kinema.text.states import TextStates


@dataclass(frozen=True, kw_only=True)
class AudioTransformerConfig:
    """Settings of the network.

    Attributes:
        hidden: inner width of the SwiGLU; two thirds of the paper's 4 D keeps the count of its two-matrix FFN.
        latent_channels: of the sound codec (128 of DAC-VAE).
        visual_dim: width of a video frame's features (1024 of the CLIP tower).
        frame_age: features come with a number more, how long their frame has been shown (`visual.on_grid`).
        text_dim: width of the text encoder's states (768 of T5-base).
        max_frames: latent frames of the longest training sequence (750 are 30 s); longer sound is made in windows.
        theta: base of the rotary angles.
        qk_norm: RMS-normalise queries and keys per head (the paper does not speak of it).
    """

    dim: int
    depth: int
    num_heads: int
    hidden: int
    latent_channels: int = 128
    visual_dim: int = 1024
    frame_age: bool = False
    text_dim: int = 768
    max_frames: int = 750
    theta: float = 20000.0
    freq_dim: int = 256
    norm_eps: float = 1e-5
    qk_norm: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise UserError(
                f"dim={self.dim} over num_heads={self.num_heads} must give an even head width: change one of them"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def shown_dim(self) -> int:
        """Width of what comes in for a shown frame."""
        return self.visual_dim + self.frame_age

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AudioTransformerConfig:
        """Undoes `to_dict`; UserError for keys that do not exist or are missing."""
        return cls(**known_settings(cls, values))


PRESETS: dict[str, AudioTransformerConfig] = {
    # 13b has the paper's depth, width and FFN (36, 4608, 18432); heads of 128 are inferred. The paper gives no dims for
    # 3B, and its 300M is another architecture: those two are this block at that size. `nano` is ours.
    "nano": AudioTransformerConfig(
        dim=144, depth=6, num_heads=4, hidden=288, latent_channels=96, visual_dim=128, text_dim=128,
        frame_age=True, max_frames=100, qk_norm=True,
    ),
    "300m": AudioTransformerConfig(dim=896, depth=24, num_heads=7, hidden=2432),
    "3b": AudioTransformerConfig(dim=2816, depth=24, num_heads=22, hidden=7552),
    "13b": AudioTransformerConfig(dim=4608, depth=36, num_heads=36, hidden=12288),
}  # fmt: skip


def preset(name: str, **changes: Any) -> AudioTransformerConfig:
    """The named preset, with fields replaced; UserError with the closest names if there is no such preset."""
    known = named_preset(PRESETS, name, "the Movie Gen Audio transformer")
    return AudioTransformerConfig.from_dict({**known.to_dict(), **changes})


@dataclass(frozen=True)
class Prepared:
    """Conditions as far as they are the same at every solver step.

    Attributes:
        context: (B, C, N) known latent.
        added: (B, N, D) what the frames add to the tokens.
        source: (B, L, D) projected text tokens, zero where masked.
        mask: (B, L) bool; one key is visible to every sample (a zero one where the text is empty).
        keys_values: per layer the keys and values (B, heads, L, head_dim), or None: each layer computes its own.
    """

    context: Tensor
    added: Tensor
    source: Tensor
    mask: Tensor
    keys_values: tuple[tuple[Tensor, Tensor], ...] | None = None

    def __len__(self) -> int:
        return len(self.context)


class Block(nn.Module):
    """x += g1 SelfAttn(adaLN(x)); x += CrossAttn(x, text); x += g2 SwiGLU(adaLN(x))."""

    def __init__(self, config: AudioTransformerConfig) -> None:
        super().__init__()
        attention = partial(MultiHeadAttention, config.dim, config.num_heads, config.qk_norm, config.norm_eps)
        self.modulation = LayerBias(config.dim, chunks=6)
        self.self_norm = RMSNorm(config.dim, config.norm_eps)
        self.self_attention = attention()
        self.cross_attention = attention()
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn = SwiGLU(config.dim, config.hidden)

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        modulation: Tensor,  # (B, 6, D), shared by the layers
        positions: Rotary,
        source: Tensor,  # (B, L, D)
        mask: Tensor,  # (B, L)
        keys_values: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(modulation)  # each (B, 1, D)
        own = self.self_norm.modulated(x, shift1, scale1)
        keys, values = self.self_attention.keys_values(own)
        x = torch.addcmul(x, gate1, self.self_attention(own, keys, values, positions=positions))
        keys, values = self.cross_attention.keys_values(source) if keys_values is None else keys_values
        x = x + self.cross_attention(x, keys, values, mask)
        return torch.addcmul(x, gate2, self.ffn(self.ffn_norm.modulated(x, shift2, scale2)))


class FrameGate(nn.Module):
    """What the shown frame adds to each token: Linear, LayerNorm, times tanh of a gate that starts at zero."""

    def __init__(self, visual_dim: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(visual_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, visual: Tensor, seen: Tensor) -> Tensor:
        """Features (B, N, F) and where there are any (B, N) -> (B, N, D), zero where there are none."""
        added = self.gate.tanh() * self.norm(self.projection(visual.to(self.projection.weight.dtype)))
        return added.masked_fill(~seen.unsqueeze(2), 0.0)


class FinalLayer(nn.Module):
    """adaLN with its own table of shift and scale, then the linear map to the latent, zero at initialisation."""

    def __init__(self, config: AudioTransformerConfig) -> None:
        super().__init__()
        self.modulation = LayerBias(config.dim, chunks=2)
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.out = nn.Linear(config.dim, config.latent_channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # (B, N, D), (B, D) -> (B, N, C)
        shift, scale = self.modulation(embedding.unsqueeze(1))
        return self.out(self.norm.modulated(x, shift, scale))


class MovieGenAudioTransformer(nn.Module):
    """Predicts the velocity of an audio latent under known sound, frames and text.

    `__init__` builds and initialises; under `torch.device("meta")` nothing is allocated, and after `to_empty` call
    `init_weights`.
    """

    def __init__(self, config: AudioTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.input = nn.Linear(2 * config.latent_channels, config.dim)
        self.frames = FrameGate(config.shown_dim, config.dim)
        self.text = nn.Linear(config.text_dim, config.dim)
        self.timestep = TimestepEmbedding(config.dim, config.freq_dim)
        self.modulation = SharedModulation(config.dim, 6)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final = FinalLayer(config)
        self.checkpointed: frozenset[int] = frozenset()
        if not self.input.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter.

        Matrices are N(0, 1/fan_in); zero are the shared adaLN projection, the way out of cross-attention, the output
        and the gate of the frames.
        """
        init_layers(self)
        for block in cast(Iterable[Block], self.blocks):
            nn.init.zeros_(block.cross_attention.out.weight)
        nn.init.zeros_(self.final.out.weight)
        nn.init.zeros_(self.frames.gate)

    def checkpoint_blocks(self, blocks: Iterable[int] | None = None) -> None:
        """Recompute the activations of these blocks (None: all) in the backward pass."""
        self.checkpointed = frozenset(range(self.config.depth) if blocks is None else blocks)

    def read(self, text: TextStates) -> tuple[Tensor, Tensor]:
        """Projected tokens (B, L, D), zero where masked, and a mask (B, L) in which every sample sees a key."""
        if text.embeds.shape[2] != self.config.text_dim:
            raise UserError(
                f"the text states are {text.embeds.shape[2]} wide and this model takes {self.config.text_dim}"
            )
        if text.mask.shape[1] == 0:
            text = text.padded(1)
        source = self.text(text.embeds.to(self.text.weight.dtype)).masked_fill(~text.mask.unsqueeze(2), 0.0)
        return source, text.mask | ~text.mask.any(dim=1, keepdim=True)

    def prepare(self, conditions: Conditions, keys_values: bool = True) -> Prepared:
        """What all solver steps share: projected frames and text, and every layer's keys and values of the text."""
        if conditions.visual.shape[2] != self.config.shown_dim:
            raise UserError(
                f"the frame features are {conditions.visual.shape[2]} wide and this model takes "
                f"{self.config.shown_dim}"
            )
        source, mask = self.read(conditions.text)
        made = None
        if keys_values:
            made = tuple(
                block.cross_attention.keys_values(source) for block in cast(Iterable[Block], self.blocks)
            )
        added = self.frames(conditions.visual, conditions.seen)
        return Prepared(conditions.context, added, source, mask, made)

    def forward(self, latent: Tensor, t: Tensor, conditions: Conditions | Prepared) -> Tensor:
        """The velocity at time t.

        Args:
            latent: (B, C, N) noisy latent, C = `config.latent_channels`.
            t: (B,) flow times; t=0 noise, t=1 data.
            conditions: of the same frames; a sampler makes a `Prepared` once.

        Returns:
            (B, C, N) in the dtype of latent.
        """
        given = conditions
        known = given if isinstance(given, Prepared) else self.prepare(given, keys_values=False)
        self._check(latent, t, known)
        both = torch.cat([latent, known.context.to(latent.dtype)], dim=1).transpose(1, 2)  # (B, N, 2C)
        x = self.input(both.to(self.input.weight.dtype)) + known.added.to(
            self.input.weight.dtype
        )  # (B, N, D)
        positions = rotary(latent.shape[2], self.config.head_dim, self.config.theta)
        embedding = self.timestep(t)  # (B, D)
        modulation = self.modulation(embedding)  # (B, 6, D)
        for i, block in enumerate(self.blocks):
            keys_values = known.keys_values[i] if known.keys_values is not None else None
            inputs = (x, modulation, positions, known.source, known.mask, keys_values)
            if i in self.checkpointed and torch.is_grad_enabled():
                x = checkpoint(block, *inputs, use_reentrant=False)
            else:
                x = block(*inputs)
        return self.final(x, embedding).transpose(1, 2).to(latent.dtype)  # (B, C, N)

    def _check(self, latent: Tensor, t: Tensor, known: Prepared) -> None:
        if latent.ndim != 3 or latent.shape[1] != self.config.latent_channels:
            raise UserError(
                f"the model takes a latent (B, {self.config.latent_channels}, N), got {tuple(latent.shape)}"
            )
        if known.context.shape != latent.shape or t.shape != latent.shape[:1]:
            raise UserError(
                f"a latent {tuple(latent.shape)} needs as many times and a context of its shape, got times "
                f"{tuple(t.shape)} and context {tuple(known.context.shape)}"
            )
