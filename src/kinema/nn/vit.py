"""One pre-norm vision transformer for every paper that has a plain one: a stem, a table of positions, blocks, a pool.

    VisionTransformer(PatchStem(768, 16), GridPositions(768, (1, 14, 14), prefix=1), transformer_blocks(768, 12, 12))

What differs between the papers is chosen by what is put in: see `kinema.nn.stems` and `kinema.nn.position_tables`.
"""

# B batch, N tokens without prefix, P prefix tokens (one class token or none), D width, S = P + N, K tokens kept

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.nn.drop_path import DropPath
from kinema.nn.mlp import GeluMLP
from kinema.nn.position_tables import GridPositions
from kinema.nn.stems import ConvStem, Stem


class SelfAttention(nn.Module):
    """Full self-attention with one matrix for queries, keys and values: (B, S, D) -> (B, S, D)."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} is not a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """With `first`, what only the first so many tokens become; they still see all of them."""
        if first is None:
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            dim, weight, bias = x.shape[-1], self.qkv.weight, self.qkv.bias
            q = F.linear(x[:, :first], weight[:dim], None if bias is None else bias[:dim])
            k, v = F.linear(x, weight[dim:], None if bias is None else bias[dim:]).chunk(2, -1)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        return self.out(merge_heads(attention(q, k, v)))


class Block(nn.Module):
    """Attention and an MLP with GELU, each behind a layer norm and added to what came in: (B, S, D) -> (B, S, D).

    drop_path: rate of stochastic depth in training.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        *,
        eps: float = 1e-6,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attention = SelfAttention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = GeluMLP(dim, mlp_dim)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """With `first`, only the first so many tokens come out."""
        kept = x if first is None else x[:, :first]
        kept = kept + self.drop_path(self.attention(self.norm1(x), first))
        return kept + self.drop_path(self.mlp(self.norm2(kept)))


def transformer_blocks(
    dim: int,
    depth: int,
    num_heads: int,
    *,
    mlp_dim: int | None = None,
    eps: float = 1e-6,
    qkv_bias: bool = True,
    drop_path: float = 0.0,
) -> nn.ModuleList:
    """`depth` blocks; stochastic depth grows linearly from 0 in the first to `drop_path` in the last."""
    last = max(depth - 1, 1)
    return nn.ModuleList(
        Block(
            dim,
            num_heads,
            4 * dim if mlp_dim is None else mlp_dim,
            eps=eps,
            qkv_bias=qkv_bias,
            drop_path=drop_path * i / last,
        )
        for i in range(depth)
    )


class VisionTransformer(nn.Module):
    """Images (B, C, H, W), or clips (B, C, T, H, W) with a stem for them, to logits (B, classes).

    Args:
        positions: whose `prefix` says whether there is a class token.
        pool: `class` takes the class token behind the final norm; `mean` averages the other tokens, then norms.
        num_classes: outputs of the linear head; 0 for none, and then `forward` gives the pooled vector.
        eps: of the final layer norm.
    """

    def __init__(
        self,
        stem: Stem,
        positions: GridPositions,
        blocks: nn.ModuleList,
        *,
        pool: Literal["class", "mean"] = "class",
        num_classes: int = 0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if stem.dim != positions.dim:
            raise ValueError(
                f"the stem makes tokens of width {stem.dim} and the positions have {positions.dim}"
            )
        if positions.prefix > 1 or (pool == "class" and not positions.prefix):
            raise ValueError(f"pool={pool!r} does not go with positions for {positions.prefix} class tokens")
        self.dim, self.pool = stem.dim, pool
        self.stem = stem
        self.class_token = nn.Parameter(torch.empty(self.dim)) if positions.prefix else None
        self.positions = positions
        self.blocks = blocks
        self.norm = nn.LayerNorm(self.dim, eps)
        self.head = nn.Linear(self.dim, num_classes) if num_classes else None
        if not self.norm.weight.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """As masked autoencoders start: Xavier-uniform matrices, zero biases; a head starts at zero."""
        init_transformer(self.blocks)
        self.norm.reset_parameters()
        self.stem.init_weights()
        self.positions.init_weights()
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=0.02)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def embed(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """The tokens that enter the first block: (B, S, D).

        Args:
            keep: places (B, K) in the grid; tokens of the others are never made: (B, P + K, D).
        """
        table = self.positions(self.stem.grid(x)).to(self.norm.weight.dtype)
        prefix, places = table[: self.positions.prefix], table[self.positions.prefix :]
        if keep is None:
            tokens = self.stem(x)
            tokens = tokens + places.to(tokens.dtype)
        elif isinstance(self.stem, ConvStem):
            raise TypeError("small convolutions see their neighbours: a masked model needs a stem of patches")
        else:
            tokens = self.stem.kept(x, keep)
            tokens = tokens + places.to(tokens.dtype)[keep]
        if self.class_token is None:
            return tokens
        first = (self.class_token + prefix).to(tokens.dtype).expand(len(tokens), 1, -1)
        return torch.cat([first, tokens], 1)

    def encode(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """All tokens behind the final norm: (B, S, D), or (B, P + K, D) of those that `keep` names."""
        tokens = self.embed(x, keep)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def intermediate(self, x: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """What the blocks of these numbers (0 is the first) give, without the final norm: number -> (B, S, D)."""
        wrong = [layer for layer in layers if not 0 <= layer < len(self.blocks)]
        if wrong:
            raise ValueError(
                f"there is no block {wrong[0]}: they are numbered from 0 to {len(self.blocks) - 1}"
            )
        tokens, found = self.embed(x), {}
        for number, block in enumerate(self.blocks[: max(layers, default=-1) + 1]):
            tokens = block(tokens)
            if number in layers:
                found[number] = tokens
        return found

    def dense(self, x: Tensor) -> Tensor:
        """A normed vector for each patch: (B, D, H', W') of an image, (B, D, T', H', W') of a clip."""
        grid = self.stem.grid(x)
        cells = self.encode(x)[:, self.positions.prefix :].transpose(1, 2)  # (B, D, N)
        return cells.unflatten(2, grid if x.ndim == 5 else grid[1:])

    def features(self, x: Tensor) -> Tensor:
        """The pooled vector that the head sees: (B, D).

        Of the last block only the class token is computed where nothing else is asked for.
        """
        tokens = self.embed(x)
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, 1) if self.pool == "class" and number == last else block(tokens)
        pooled = tokens[:, 0] if self.pool == "class" else tokens[:, self.positions.prefix :].mean(1)
        return self.norm(pooled)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return features if self.head is None else self.head(features)


@torch.no_grad()
def init_transformer(blocks: nn.Module) -> None:
    """Xavier-uniform for linear layers, their biases 0, norms at one."""
    for layer in blocks.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
