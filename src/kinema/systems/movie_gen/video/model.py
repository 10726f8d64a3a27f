"""The transformer of Movie Gen Video (2410.13720, section 3.1.3 and Figure 8).

A LLaMa block with text cross-attention, adaLN time modulation and full bidirectional attention, over
patches of a spatio-temporal latent.
"""

# B batch, C latent channels, T H W latent frames, rows, columns, N tokens, L text tokens, D width

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
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
from kinema.nn.patches import patchify, unpatchify
from kinema.nn.positions import FactorizedPositions
from kinema.settings import known_settings, named_preset, plain_settings
from kinema.text.states import TextStates

Grid = tuple[int, int, int]
Text = TextStates | Sequence[TextStates]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Settings of the network. Grids are (time, height, width) in latent cells.

    Attributes:
        hidden: inner width of the SwiGLU.
        text_dims: width of each text encoder, in the order in which their states come; none: the blocks have
            no cross-attention.
        condition_channels: of a second latent that comes behind the first one's channels, such as a clip to
            upsample; the velocity has `latent_channels`.
        grid: the largest latent that the position tables reach.
        qk_norm: RMS-normalise queries and keys per head (the paper does not speak of it).
        cross_norm: give cross-attention an RMSNorm of its own (the paper's figure draws none).
        modulation_mlp: the modulation that all layers share is an MLP of two layers (one linear map otherwise).
        final_projection: the last layer projects the time embedding itself, as in DiT, before its table is added
            (the table alone otherwise, as in PixArt).
    """

    dim: int
    depth: int
    num_heads: int
    hidden: int
    latent_channels: int = 16
    text_dims: tuple[int, ...] = (4096, 1280, 1472)  # UL2, long-prompt MetaCLIP, ByT5
    patch: Grid = (1, 2, 2)
    grid: Grid = (32, 128, 128)
    freq_dim: int = 256
    norm_eps: float = 1e-5
    qk_norm: bool = False
    cross_norm: bool = False
    modulation_mlp: bool = False
    final_projection: bool = False
    condition_channels: int = 0

    def __post_init__(self) -> None:
        for name in ("text_dims", "patch", "grid"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.dim % self.num_heads:
            raise UserError(
                f"dim={self.dim} is not a multiple of num_heads={self.num_heads}: change one of them"
            )
        if len(self.patch) != 3 or len(self.grid) != 3:
            raise UserError(
                f"patch and grid are (time, height, width), got patch={self.patch} and grid={self.grid}"
            )
        self.tokens(self.grid)

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: C * prod(patch)."""
        return self.latent_channels * math.prod(self.patch)

    @property
    def input_channels(self) -> int:
        """Channels of what comes in: the noisy latent's, and behind them the condition's."""
        return self.latent_channels + self.condition_channels

    def tokens(self, grid: Sequence[int]) -> Grid:
        """Tokens along each axis for a latent of `grid` = (T, H, W) cells."""
        if any(size % step for size, step in zip(grid, self.patch, strict=True)):
            raise UserError(
                f"a latent of {tuple(grid)} cannot be cut into patches of {self.patch}: use multiples of them"
            )
        time, height, width = (size // step for size, step in zip(grid, self.patch, strict=True))
        return time, height, width

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TransformerConfig:
        """Undoes `to_dict`; UserError for keys that do not exist or are missing."""
        return cls(**known_settings(cls, values))


PRESETS: dict[str, TransformerConfig] = {
    # `nano` is ours. 30b has the paper's dims; those of 5b and 1b are from an open re-implementation (mindone). How
    # time steers the last layer is not published: 30b reads "one shared MLP" as two layers and takes DiT's last layer.
    "nano": TransformerConfig(
        dim=256,
        depth=6,
        num_heads=4,
        hidden=288,
        latent_channels=64,
        text_dims=(192,),
        patch=(1, 1, 1),
        grid=(4, 8, 8),
        qk_norm=True,
    ),
    "1b": TransformerConfig(dim=1536, depth=24, num_heads=16, hidden=4096),
    "5b": TransformerConfig(dim=3072, depth=32, num_heads=24, hidden=8192),
    "30b": TransformerConfig(
        dim=6144, depth=48, num_heads=48, hidden=16384, modulation_mlp=True, final_projection=True
    ),
}


def preset(name: str, **changes: Any) -> TransformerConfig:
    """The named preset, with fields replaced; UserError with the closest names if there is no such preset."""
    known = named_preset(PRESETS, name, "the Movie Gen transformer")
    return TransformerConfig.from_dict({**known.to_dict(), **changes})


@dataclass(frozen=True)
class Condition:
    """Text, ready for cross-attention.

    Attributes:
        source: (B, L, D) projected text tokens, zero where masked.
        mask: (B, L) bool; at least one key is visible to every sample (a zero one where the text is empty).
        keys_values: per layer the keys and values (B, heads, L, head_dim), or None: each layer then
            computes its own.
    """

    source: Tensor
    mask: Tensor
    keys_values: tuple[tuple[Tensor, Tensor], ...] | None = None

    def __len__(self) -> int:
        return len(self.source)


class Block(nn.Module):
    """x += PE; x += g1 SelfAttn(adaLN(x)); x += CrossAttn(x, text); x += g2 SwiGLU(adaLN(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        attention = partial(MultiHeadAttention, config.dim, config.num_heads, config.qk_norm, config.norm_eps)
        self.modulation = LayerBias(config.dim, chunks=6)
        self.self_norm = RMSNorm(config.dim, config.norm_eps)
        self.self_attention = attention()
        self.cross_norm = RMSNorm(config.dim, config.norm_eps) if config.cross_norm else nn.Identity()
        self.cross_attention = attention() if config.text_dims else None
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn = SwiGLU(config.dim, config.hidden)

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        positions: Tensor,  # (N, D)
        modulation: Tensor,  # (B, 6, D), shared by the layers
        source: Tensor,  # (B, L, D)
        mask: Tensor,  # (B, L)
        keys_values: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(modulation)  # each (B, 1, D)
        x = x + positions
        own = self.self_norm.modulated(x, shift1, scale1)
        x = torch.addcmul(x, gate1, self.self_attention(own, *self.self_attention.keys_values(own)))
        if self.cross_attention is not None:
            keys, values = self.cross_attention.keys_values(source) if keys_values is None else keys_values
            x = x + self.cross_attention(self.cross_norm(x), keys, values, mask)
        return torch.addcmul(x, gate2, self.ffn(self.ffn_norm.modulated(x, shift2, scale2)))


class FinalLayer(nn.Module):
    """adaLN with its own table of shift and scale, then the linear map to patches, zero at initialisation."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.projection = SharedModulation(config.dim, chunks=2) if config.final_projection else None
        self.modulation = LayerBias(config.dim, chunks=2)
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.out = nn.Linear(config.dim, config.patch_dim)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # (B, N, D), (B, D) -> (B, N, patch_dim)
        steer = embedding.unsqueeze(1) if self.projection is None else self.projection(embedding)
        shift, scale = self.modulation(steer)
        return self.out(self.norm.modulated(x, shift, scale))


class TextProjection(nn.Module):
    """One encoder's states into the width of the transformer: Linear, then LayerNorm."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(text_dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, embeds: Tensor) -> Tensor:  # (B, L, text_dim) -> (B, L, D)
        return self.norm(self.linear(embeds.to(self.linear.weight.dtype)))


class MovieGenTransformer(nn.Module):
    """Predicts the velocity of a video latent under text. An image is a latent of one frame.

    `__init__` builds and initialises; under `torch.device("meta")` nothing is allocated, and after
    `to_empty` call `init_weights`.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_in = nn.Linear(config.input_channels * math.prod(config.patch), config.dim)
        self.positions = FactorizedPositions(config.dim, config.tokens(config.grid))
        self.timestep = TimestepEmbedding(config.dim, config.freq_dim)
        self.modulation = SharedModulation(config.dim, 6, config.dim if config.modulation_mlp else None)
        self.text = nn.ModuleList(TextProjection(width, config.dim) for width in config.text_dims)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final = FinalLayer(config)
        self.checkpointed: frozenset[int] = frozenset()
        if not self.patch_in.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter.

        Matrices are N(0, 1/fan_in), with PixArt's zeros: the shared adaLN projection, the way out of
        cross-attention, and the output.
        """
        init_layers(self)
        for block in cast(Iterable[Block], self.blocks):
            if block.cross_attention is not None:
                nn.init.zeros_(block.cross_attention.out.weight)
        nn.init.zeros_(self.final.out.weight)

    def checkpoint_blocks(self, blocks: Iterable[int] | None = None) -> None:
        """Recompute the activations of these blocks (None: all) in the backward pass."""
        self.checkpointed = frozenset(range(self.config.depth) if blocks is None else blocks)

    @torch.no_grad()
    def grown(self, grid: Grid) -> MovieGenTransformer:
        """A copy whose position tables reach to another latent grid, interpolated linearly."""
        weight = self.patch_in.weight
        with torch.device("meta"):
            new = MovieGenTransformer(dataclasses.replace(self.config, grid=grid))
        new.to_empty(device=weight.device).to(weight.dtype)
        state = self.state_dict()
        tables = self.positions.grown(new.config.tokens(grid)).state_dict()
        new.load_state_dict({**state, **{f"positions.{name}": table for name, table in tables.items()}})
        new.checkpointed = self.checkpointed
        return new.train(self.training)

    def encode_text(self, text: Text) -> Condition:
        """Project each encoder's states and join them along the sequence: the source of keys and values.

        A text of no visible tokens is legal: cross-attention then adds zero.
        """
        states = (text,) if isinstance(text, TextStates) else tuple(text)
        widths = tuple(part.embeds.shape[2] for part in states)
        if widths != self.config.text_dims:
            raise UserError(
                f"the text states have widths {widths} and this model takes {self.config.text_dims}"
            )
        mask = torch.cat([part.mask for part in states], dim=1)  # (B, L)
        projected = [project(part.embeds) for project, part in zip(self.text, states, strict=True)]
        source = torch.cat(projected, dim=1)  # (B, L, D)
        if mask.shape[1] == 0:
            source, mask = source.new_zeros(len(source), 1, self.config.dim), mask.new_zeros(len(mask), 1)
        source = source.masked_fill(~mask.unsqueeze(2), 0.0)
        return Condition(source, mask | ~mask.any(dim=1, keepdim=True))

    def prepare(self, text: Text) -> Condition:
        """What all solver steps share of the text: `encode_text`, and every layer's keys and values."""
        condition = self.encode_text(text)
        keys_values = tuple(
            block.cross_attention.keys_values(condition.source)
            for block in cast(Iterable[Block], self.blocks)
            if block.cross_attention is not None
        )
        return dataclasses.replace(condition, keys_values=keys_values)

    def forward(self, latent: Tensor, t: Tensor, text: Text | Condition = ()) -> Tensor:
        """The velocity at time t.

        Args:
            latent: (B, C, T, H, W), at most `config.grid`, in multiples of `config.patch`; where the model takes a
                condition, (B, `config.input_channels`, T, H, W).
            t: (B,) flow times; t=0 noise, t=1 data.
            text: the states of each encoder in the order of `config.text_dims` (one TextStates if there is
                only one), or a Condition from `prepare`, which a sampler makes once; nothing where there are none.

        Returns:
            (B, C, T, H, W), C = `config.latent_channels`, in the dtype of latent.
        """
        if not self.config.text_dims and text == ():
            nothing = latent.new_zeros(len(latent), 0, self.config.dim)
            condition = Condition(nothing, nothing[:, :, 0].bool())
        else:
            condition = text if isinstance(text, Condition) else self.encode_text(text)
        grid = self._check(latent, t, condition)
        x = self.patch_in(patchify(latent.to(self.patch_in.weight.dtype), self.config.patch))  # (B, N, D)
        positions = self.positions(grid).to(x.dtype)  # (N, D)
        embedding = self.timestep(t)  # (B, D)
        modulation = self.modulation(embedding)  # (B, 6, D)
        for i, block in enumerate(self.blocks):
            keys_values = condition.keys_values[i] if condition.keys_values is not None else None
            inputs = (x, positions, modulation, condition.source, condition.mask, keys_values)
            if i in self.checkpointed and torch.is_grad_enabled():
                x = checkpoint(block, *inputs, use_reentrant=False)
            else:
                x = block(*inputs)
        patches = self.final(x, embedding)  # (B, N, patch_dim)
        return unpatchify(patches, grid, self.config.patch, self.config.latent_channels).to(latent.dtype)

    def _check(self, latent: Tensor, t: Tensor, condition: Condition) -> Grid:
        """The token grid of a latent, or a UserError that says what does not fit."""
        config = self.config
        if latent.ndim != 5 or latent.shape[1] != config.input_channels:
            raise UserError(
                f"the model takes a latent (B, {config.input_channels}, T, H, W), got {tuple(latent.shape)}"
            )
        if any(size > limit for size, limit in zip(latent.shape[2:], config.grid, strict=True)):
            raise UserError(
                f"the latent has {tuple(latent.shape[2:])} cells (time, height, width) and the model reaches "
                f"to {config.grid}: make it smaller, or use a model with grown position tables"
            )
        if t.shape != latent.shape[:1] or len(condition) != len(latent):
            raise UserError(
                f"a batch of {len(latent)} latents needs as many times and texts, "
                f"got times {tuple(t.shape)} and {len(condition)} texts"
            )
        return config.tokens(latent.shape[2:])
