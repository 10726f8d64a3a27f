"""The layers of Wan's transformer: attention, the block, the head.

Norms, modulation and the running sum are in float32 whatever the matrices are held in. While nothing is differentiated
the same mathematics takes fewer passes over memory: see `kinema.nn.linear`, `Attention.heads` and `modulated`.
"""

# B batch, N tokens, L text tokens, D width

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.nn.linear import linear, plain
from kinema.nn.modulation import modulate
from kinema.nn.norms import RMSNorm
from kinema.nn.positions import Rotary, turn_pairs
from kinema.systems.movie_gen.video.wan.config import WanConfig

HIDDEN_BYTES = (
    16 * 2**20
)  # of the feed-forward network's inner activations at a time, where nothing is differentiated


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last axis in float32, whatever comes: (..., D) -> (..., D) float32."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float() if self.elementwise_affine else None
        bias = self.bias.float() if self.elementwise_affine else None
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)


def modulated(norm: LayerNorm, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(x) * (1 + scale) + shift in float32, shift and scale (B, 1, D); in one pass where all share one time."""
    if len(scale) > 1:
        return modulate(norm(x), shift, scale)
    return F.layer_norm(x.float(), norm.normalized_shape, 1 + scale[0, 0], shift[0, 0], norm.eps)


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

    def heads(self, x: Tensor, norm: RMSNorm, positions: Rotary | None = None) -> Tensor:
        """Normalise queries or keys (B, N, D) and turn them by their positions -> (B, heads, N, head_dim)."""
        if plain(x):
            out = split_heads(norm(x), self.num_heads)
            return out if positions is None else turn_pairs(out, positions)
        # The same with one rounding, at the end: the norm's factor, one for each token, rides on the rotation.
        fine = x.float() if x.dtype == torch.bfloat16 else x
        size = torch.linalg.vector_norm(fine, dim=-1, keepdim=True)
        inverse = size.square_().div_(x.shape[-1]).add_(norm.eps).rsqrt_().unsqueeze(2)  # (B, N, 1, 1)
        weighted = (fine * norm.weight.float()).unflatten(2, (self.num_heads, -1))  # (B, N, heads, head_dim)
        if positions is None:
            out = weighted.mul_(inverse)
        else:
            turns = torch.complex(*(part.to(x.device) for part in positions)).unsqueeze(1) * inverse
            pairs = torch.view_as_complex(weighted.unflatten(-1, (-1, 2)))
            out = torch.view_as_real(pairs.mul_(turns)).flatten(-2)
        return out.to(x.dtype).transpose(1, 2)

    def keys_values(self, source: Tensor, positions: Rotary | None = None) -> tuple[Tensor, Tensor]:
        """(B, L, D) -> keys and values (B, heads, L, head_dim)."""
        keys = self.heads(linear(source, self.k), self.norm_k, positions)
        return keys, split_heads(linear(source, self.v), self.num_heads)

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        keys: Tensor,  # (B, heads, L, head_dim), values too
        values: Tensor,
        positions: Rotary | None = None,
        bias: Tensor | None = None,  # (B, L)
    ) -> Tensor:
        queries = self.heads(linear(x, self.q), self.norm_q, positions)
        return linear(merge_heads(attention(queries, keys, values, bias)), self.o)


class FeedForward(nn.Sequential):
    """Linear, GELU by its tanh form, Linear: (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.GELU("tanh"), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        if plain(x):
            return cast(Tensor, super().forward(x))
        up, down = cast(nn.Linear, self[0]), cast(nn.Linear, self[2])
        rows = max(256, HIDDEN_BYTES // (up.out_features * x.element_size()))
        flat = x.flatten(0, -2)
        if len(flat) <= rows:
            return linear(linear(x, up, gelu=True), down)
        out = torch.cat([linear(linear(some, up, gelu=True), down) for some in flat.split(rows)])
        return out.view(x.shape)


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
        self.ffn = FeedForward(dim, config.hidden)
        self.modulation = nn.Parameter(torch.empty(1, 6, dim))

    def forward(
        self,
        x: Tensor,  # (B, N, D)
        modulation: Tensor,  # (B, 6, D), or (1, 6, D) where all share one time; shared by the layers
        positions: Rotary,
        source: Tensor,  # (B, L, D)
        bias: Tensor | None = None,  # (B, L)
        keys_values: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        parts = (modulation + self.modulation.float()).unsqueeze(2).unbind(1)  # 6 x (B, 1, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        keys, values = self.cross_attn.keys_values(source) if keys_values is None else keys_values
        dtype = self.self_attn.q.weight.dtype  # of the matrices; norms and modulation are finer
        own = modulated(self.norm1, x, shift1, scale1).to(dtype)
        seen = self.self_attn(own, *self.self_attn.keys_values(own, positions), positions)
        x = torch.addcmul(x, gate1, seen.float())
        x = x + self.cross_attn(self.norm3(x).to(dtype), keys, values, bias=bias)
        own = modulated(self.norm2, x, shift2, scale2).to(dtype)
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
        return linear(modulated(self.norm, x, shift, scale).to(self.head.weight.dtype), self.head)


class Layers(Protocol):
    """The blocks in their order, wherever they are kept."""

    def __iter__(self) -> Iterator[Block]: ...
