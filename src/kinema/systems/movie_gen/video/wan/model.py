"""The transformer of Wan 2.1 (2503.20314), whose open weights give this room a trained base.

Its parameters carry the names of Wan's own weight files. Its outside is kinema's: t=0 noise, t=1 data, and it returns
the velocity data - noise. Inside, Wan counts the other way: noise level sigma = 1 - t, timestep 1000 sigma, and an
output noise - data, which is the negative of ours.
"""

# B batch, C latent channels, T H W latent frames, rows, columns, N tokens, L text tokens, D width

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.errors import UserError
from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.nn.modulation import modulate
from kinema.nn.norms import RMSNorm
from kinema.nn.patches import patchify, unpatchify
from kinema.nn.positions import Rotary, rotary, timestep_sinusoid, turn_pairs
from kinema.systems.movie_gen.video.wan.cache import StepCache
from kinema.text.states import TextStates

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class WanConfig:
    """Settings of the network.

    Attributes:
        hidden: inner width of the feed-forward network.
        text_dim: width of the text encoder's states (umT5-xxl: 4096).
        text_tokens: every text is padded with zeros to this length, and the padding is attended to.
    """

    dim: int
    depth: int
    num_heads: int
    hidden: int
    latent_channels: int = 16
    text_dim: int = 4096
    text_tokens: int = 512
    patch: Grid = (1, 2, 2)
    freq_dim: int = 256
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives lists
        if self.dim % self.num_heads or self.dim // self.num_heads % 2 or self.dim // self.num_heads < 6:
            raise UserError(
                f"dim={self.dim} cannot be split into num_heads={self.num_heads} heads of an even width of 6 or more: "
                "change one of them"
            )

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: C * prod(patch)."""
        return self.latent_channels * math.prod(self.patch)

    def tokens(self, size: Iterable[int]) -> Grid:
        """Tokens along each axis for a latent of `size` = (T, H, W) cells."""
        cells = tuple(size)
        if any(n % step for n, step in zip(cells, self.patch, strict=True)):
            raise UserError(
                f"a latent of {cells} cannot be cut into patches of {self.patch}: use multiples of them"
            )
        time, height, width = (n // step for n, step in zip(cells, self.patch, strict=True))
        return time, height, width

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**dataclasses.asdict(self), "patch": list(self.patch)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WanConfig:
        """Undoes `to_dict`; UserError for keys that do not exist or are missing."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=3, cutoff=0.0)
                raise UserError(f"WanConfig has no setting {key!r}; the closest are {', '.join(near)}")
        missing = [name for name in ("dim", "depth", "num_heads", "hidden") if name not in values]
        if missing:
            raise UserError(f"WanConfig needs {', '.join(missing)} as well")
        return cls(**values)


PRESETS: dict[str, WanConfig] = {
    # `tiny` is ours, for tests; the others are the published text-to-video models.
    "tiny": WanConfig(
        dim=40, depth=2, num_heads=2, hidden=72, latent_channels=4, text_dim=24, text_tokens=16
    ),
    "1.3b": WanConfig(dim=1536, depth=30, num_heads=12, hidden=8960),
    "14b": WanConfig(dim=5120, depth=40, num_heads=40, hidden=13824),
}


def preset(name: str) -> WanConfig:
    """The named preset; UserError with the closest names if there is no such preset."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.0)
        raise UserError(f"there is no preset {name!r} of Wan 2.1; the closest are {', '.join(near)}")
    return PRESETS[name]


@dataclass(frozen=True)
class Condition:
    """Text, ready for cross-attention, and what else all solver steps share.

    Attributes:
        source: (B, L, D) embedded text, its padding included.
        bias: None, or (B, L), added to the scores: the logarithm of how many padding tokens each key stands for.
        keys_values: per layer the keys and values (B, heads, L, head_dim), or None: each layer computes its own.
        positions: rotary tables and the token grid that they belong to, or None.
    """

    source: Tensor
    bias: Tensor | None = None
    keys_values: tuple[tuple[Tensor, Tensor], ...] | None = None
    positions: tuple[Grid, Rotary] | None = None

    def __len__(self) -> int:
        return len(self.source)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last axis in float32, whatever comes: (..., D) -> (..., D) float32."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float() if self.elementwise_affine else None
        bias = self.bias.float() if self.elementwise_affine else None
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)


class Attention(nn.Module):
    """Attention to the clip itself or to its text; queries and keys are RMS-normalised over the whole width."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.norm_eps)
        self.norm_k = RMSNorm(config.dim, config.norm_eps)

    def keys_values(self, source: Tensor, positions: Rotary | None = None) -> tuple[Tensor, Tensor]:
        """(B, L, D) -> keys and values (B, heads, L, head_dim)."""
        keys = split_heads(self.norm_k(self.k(source)), self.num_heads)
        keys = keys if positions is None else turn_pairs(keys, positions)
        return keys, split_heads(self.v(source), self.num_heads)

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        keys: Tensor,  # (B, heads, L, head_dim), values too
        values: Tensor,
        positions: Rotary | None = None,
        bias: Tensor | None = None,  # (B, L)
    ) -> Tensor:
        q = split_heads(self.norm_q(self.q(x)), self.num_heads)
        q = q if positions is None else turn_pairs(q, positions)
        return self.o(merge_heads(attention(q, keys, values, bias)))


class Block(nn.Module):
    """x += g1 SelfAttn(adaLN(x)); x += CrossAttn(LayerNorm(x), text); x += g2 FFN(adaLN(x)); x stays in float32."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        dim, eps = config.dim, config.norm_eps
        self.norm1 = LayerNorm(dim, eps, elementwise_affine=False)
        self.self_attn = Attention(config)
        self.norm3 = LayerNorm(dim, eps)
        self.cross_attn = Attention(config)
        self.norm2 = LayerNorm(dim, eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(dim, config.hidden), nn.GELU("tanh"), nn.Linear(config.hidden, dim)
        )
        self.modulation = nn.Parameter(torch.empty(1, 6, dim))

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        modulation: Tensor,  # (B, 6, D), shared by the layers
        positions: Rotary,
        source: Tensor,  # (B, L, D)
        bias: Tensor | None = None,  # (B, L)
        keys_values: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        parts = (modulation + self.modulation.float()).unsqueeze(2).unbind(1)  # 6 x (B, 1, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        keys, values = self.cross_attn.keys_values(source) if keys_values is None else keys_values
        dtype = self.self_attn.q.weight.dtype  # of the matrices; norms and modulation are finer
        own = modulate(self.norm1(x), shift1, scale1).to(dtype)
        seen = self.self_attn(own, *self.self_attn.keys_values(own, positions), positions)
        x = torch.addcmul(x, gate1, seen.float())
        x = x + self.cross_attn(self.norm3(x).to(dtype), keys, values, bias=bias)
        own = modulate(self.norm2(x), shift2, scale2).to(dtype)
        return torch.addcmul(x, gate2, self.ffn(own).float())


class Head(nn.Module):
    """adaLN with its own shift and scale, then the linear map to patches, (p_t, p_h, p_w, C) in each token."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(config.dim, config.norm_eps, elementwise_affine=False)
        self.head = nn.Linear(config.dim, config.patch_dim)
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # (B, N, D), (B, D) -> (B, N, patch_dim)
        shift, scale = (embedding.unsqueeze(1) + self.modulation.float()).unsqueeze(2).unbind(1)
        return self.head(modulate(self.norm(x), shift, scale).to(self.head.weight.dtype))


class Layers(Protocol):
    """The blocks in their order, wherever they are kept."""

    def __iter__(self) -> Iterator[Block]: ...


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

        All padding tokens have the same key and value. In float32 one of them is kept for each text, with the
        logarithm of their number added to its score, which is the same sum; half precision rounds such a logarithm
        too coarsely, so there all are kept.

        Args:
            size: (T, H, W) of the latents, for the rotary tables; without it each step makes them again.
        """
        states = self._visible(text)
        states = states.padded(max(1, states.embeds.shape[1]))
        bias = None
        half = (
            torch.is_autocast_enabled(self.device.type) or self.patch_embedding.weight.dtype != torch.float32
        )
        if half:
            states = states.padded(self.config.text_tokens)
        else:
            used = int(
                (states.mask * torch.arange(1, states.mask.shape[1] + 1, device=states.mask.device)).max()
            )
            length = min(used + 1, self.config.text_tokens)
            states = TextStates(states.embeds[:, :length], states.mask[:, :length]).padded(length)
            padding = self.config.text_tokens - states.mask.sum(1)  # (B,) tokens to be stood for
            each = (padding / (~states.mask).sum(1).clamp_min(1)).clamp_min(1)
            bias = torch.where(states.mask, 0.0, each.log()[:, None])
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
            t: (B,) flow times; t=0 noise, t=1 data.
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
        if t.shape != latent.shape[:1] or len(condition) != len(latent):
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
