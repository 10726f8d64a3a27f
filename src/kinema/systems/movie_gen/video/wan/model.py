"""The transformer of Wan 2.1 (2503.20314), whose open weights give this room a trained base.

Its parameters carry the names of Wan's own weight files. Its outside is kinema's: t=0 noise, t=1 data, and it returns
the velocity data - noise. Inside, Wan counts the other way: noise level sigma = 1 - t, timestep 1000 sigma, and an
output noise - data, which is the negative of ours.
"""

# B batch, C latent channels, T H W latent frames, rows, columns, N tokens, L text tokens, D width

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.errors import UserError
from kinema.nn.norms import RMSNorm
from kinema.nn.patches import patchify, unpatchify
from kinema.nn.positions import Rotary, rotary, timestep_sinusoid
from kinema.systems.movie_gen.video.wan.cache import StepCache
from kinema.systems.movie_gen.video.wan.condition import Condition, collapse_padding
from kinema.systems.movie_gen.video.wan.config import Grid, WanConfig
from kinema.systems.movie_gen.video.wan.layers import Block, Head, Layers
from kinema.text.states import TextStates


class WanTransformer(nn.Module):
    """Predicts the velocity of a video latent under text. An image is a latent of one frame.

    `__init__` builds and initialises; under `torch.device("meta")` nothing is allocated, and after `to_empty` call
    `init_weights`. Where `stream` is set, the blocks come from it one at a time and the model only generates.
    """

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.patch_embedding = nn.Conv3d(config.latent_channels, dim, config.patch, stride=config.patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head = Head(config)
        self.stream: Layers | None = None
        self.checkpointed: frozenset[int] = frozenset()
        if not self.patch_embedding.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter as Wan did before its training: Xavier matrices, and an output of zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, RMSNorm):
                module.init_weights()
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, Block | Head):
                nn.init.normal_(module.modulation, std=self.config.dim**-0.5)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        nn.init.zeros_(cast(Tensor, self.patch_embedding.bias))
        for embedding in (self.text_embedding, self.time_embedding):
            for module in embedding:
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)

    @property
    def device(self) -> torch.device:
        """Where the latents are to come from."""
        return self.patch_embedding.weight.device

    def layers(self) -> Layers:
        """The blocks in their order."""
        return cast(Layers, self.blocks) if self.stream is None else self.stream

    def checkpoint_blocks(self, blocks: Iterable[int] | None = None) -> None:
        """Recompute the activations of these blocks (None: all) in the backward pass."""
        self.checkpointed = frozenset(range(self.config.depth) if blocks is None else blocks)

    def encode_text(self, text: TextStates) -> Condition:
        """Pad the states with zeros to `text_tokens` and embed them, padding and all: the source of keys and values."""
        return Condition(self._embed(self._visible(text).padded(self.config.text_tokens).embeds))

    def prepare(self, text: TextStates, size: Iterable[int] | None = None) -> Condition:
        """What all solver steps share: the embedded text, every layer's keys and values, the rotary tables.

        The padding is collapsed into one key with the logarithm of its count on its score, which is the same sum. In
        half precision only a CPU adds such a number without rounding it first; elsewhere all padding is kept.

        Args:
            size: (T, H, W) of the latents, for the rotary tables; without it each step makes them again.
        """
        states, kind = self._visible(text), self.device.type
        half = torch.is_autocast_enabled(kind) or self.patch_embedding.weight.dtype != torch.float32
        if half and kind != "cpu":
            states, bias = states.padded(self.config.text_tokens), None
        else:
            states, bias = collapse_padding(states, self.config.text_tokens)
        source = self._embed(states.embeds)
        keys_values = tuple(block.cross_attn.keys_values(source) for block in self.layers())
        grid = self.config.tokens(size) if size is not None else None
        positions = (grid, self._rotary(grid)) if grid is not None else None
        return Condition(source, bias, keys_values, positions)

    def forward(
        self, latent: Tensor, t: Tensor, text: TextStates | Condition, cache: StepCache | None = None
    ) -> Tensor:
        """The velocity at time t.

        Args:
            latent: (B, C, T, H, W), in multiples of `config.patch`.
            t: (B,) flow times, or (1,) for all; t=0 noise, t=1 data.
            text: states of the text encoder, or a Condition from `prepare`, which a sampler makes once.
            cache: lets a step whose first block hardly moved reuse what the other blocks gave.

        Returns:
            (B, C, T, H, W), the shape and dtype of latent.
        """
        condition = self.encode_text(text) if isinstance(text, TextStates) else text
        grid = self._check(latent, t, condition)
        weight = self.patch_embedding.weight
        patches = patchify(latent.to(weight.dtype), self.config.patch)
        x = F.linear(patches, weight.flatten(1), self.patch_embedding.bias).float()  # (B, N, D)
        embedding, modulation = self._time(t)
        if condition.positions is not None and condition.positions[0] == grid:
            positions = condition.positions[1]
        else:
            positions = self._rotary(grid)
        start = first = x
        for i, block in enumerate(self.layers()):
            keys_values = condition.keys_values[i] if condition.keys_values is not None else None
            inputs = (x, modulation, positions, condition.source, condition.bias, keys_values)
            if i in self.checkpointed and torch.is_grad_enabled():
                x = checkpoint(block, *inputs, use_reentrant=False)
            else:
                x = block(*inputs)
            if i == 0 and cache is not None:
                first = x
                if (rest := cache.recall(x - start)) is not None:
                    x = x + rest
                    break
        else:
            if cache is not None:
                cache.store(x - first)
        tokens = self.head(x, embedding)  # (B, N, p_t * p_h * p_w * C)
        tokens = tokens.unflatten(2, (-1, self.config.latent_channels)).transpose(2, 3).flatten(2)
        return -unpatchify(tokens, grid, self.config.patch, self.config.latent_channels).to(latent.dtype)

    def _time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) -> embedding (B, D) and modulation (B, 6, D), in float32 whatever the products run in."""
        with torch.autocast(t.device.type, enabled=False):
            weight = cast(nn.Linear, self.time_embedding[0]).weight
            sinusoid = timestep_sinusoid(1 - t.float(), self.config.freq_dim)  # of 1000 sigma
            embedding = self.time_embedding(sinusoid.to(weight.dtype))
            return embedding.float(), self.time_projection(embedding).unflatten(1, (6, -1)).float()

    def _rotary(self, grid: Grid) -> Rotary:
        """Cosines and sines, each (N, head_dim/2), on the device."""
        cos, sin = rotary(grid, self.config.dim // self.config.num_heads)
        return cos.to(self.device), sin.to(self.device)

    def _visible(self, text: TextStates) -> TextStates:
        """The states with zeros wherever the mask hides them."""
        length, width = text.embeds.shape[1:]
        if width != self.config.text_dim or length > self.config.text_tokens:
            raise UserError(
                f"the text states have {length} tokens of width {width} and this model takes at most "
                f"{self.config.text_tokens} of width {self.config.text_dim}"
            )
        return TextStates(text.embeds.masked_fill(~text.mask.unsqueeze(2), 0.0), text.mask)

    def _embed(self, embeds: Tensor) -> Tensor:
        """(B, L, text_dim) -> (B, L, D)."""
        return self.text_embedding(embeds.to(cast(nn.Linear, self.text_embedding[0]).weight.dtype))

    def _check(self, latent: Tensor, t: Tensor, condition: Condition) -> Grid:
        """The token grid of a latent, or a UserError that says what does not fit."""
        channels = self.config.latent_channels
        if latent.ndim != 5 or latent.shape[1] != channels:
            raise UserError(f"the model takes a latent (B, {channels}, T, H, W), got {tuple(latent.shape)}")
        if t.shape not in ((1,), latent.shape[:1]) or len(condition) != len(latent):
            raise UserError(
                f"a batch of {len(latent)} latents needs as many times and texts, "
                f"got times {tuple(t.shape)} and {len(condition)} texts"
            )
        if self.stream is not None and torch.is_grad_enabled():
            raise UserError(
                "a model whose blocks are offloaded only generates: call it under torch.inference_mode(), or load it "
                "without offload to train it"
            )
        return self.config.tokens(latent.shape[2:])
