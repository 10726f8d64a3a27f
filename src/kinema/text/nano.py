"""A text encoder small enough to train in minutes: a bidirectional transformer over byte-level BPE tokens.

It stands behind the interface that T5, CLIP and ByT5 towers take. `kinema.text.alignment` trains it.
"""

# B batch, L tokens, D width

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.nn.initial import init_layers
from kinema.nn.mlp import SwiGLU
from kinema.nn.norms import RMSNorm
from kinema.text.states import TextStates
from kinema.text.tokenizer import tokenize


@dataclass(frozen=True, kw_only=True)
class NanoTextConfig:
    """Settings of the encoder; `vocabulary_size` is the tokeniser's."""

    vocabulary_size: int = 1536
    dim: int = 192
    depth: int = 2
    num_heads: int = 4
    hidden: int = 384
    max_tokens: int = 48

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NanoTextConfig:
        return cls(**values)


class TextBlock(nn.Module):
    """x += Attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x))."""

    def __init__(self, config: NanoTextConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = RMSNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)
        self.ffn_norm = RMSNorm(config.dim)
        self.ffn = SwiGLU(config.dim, config.hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, L, D), (B, L) -> (B, L, D)
        q, k, v = self.qkv(self.attention_norm(x)).chunk(3, -1)
        heads = self.num_heads
        mixed = attention(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), mask)
        x = x + self.out(merge_heads(mixed))
        return x + self.ffn(self.ffn_norm(x))


class NanoTextEncoder(nn.Module):
    """Prompts -> TextStates of width `dim`. The tokeniser is part of it and travels with its weights."""

    def __init__(self, config: NanoTextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.dim, self.max_tokens = config.dim, config.max_tokens
        self.embedding = nn.Embedding(config.vocabulary_size, config.dim)
        self.positions = nn.Parameter(torch.empty(config.max_tokens, config.dim))
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.dim)
        if not self.positions.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter: matrices N(0, 1/fan_in), embeddings N(0, 0.5), positions N(0, 0.02)."""
        init_layers(self)
        nn.init.normal_(self.embedding.weight, std=0.5)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> TextStates:
        """Token ids (B, L) and mask (B, L) -> states."""
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return TextStates(self.norm(x), mask)

    def states(self, prompts: Sequence[str]) -> TextStates:
        """`encode` with gradients, for training."""
        ids, mask = tokenize(self.tokenizer, prompts, self.max_tokens)
        device = self.positions.device
        return self(ids.to(device), mask.to(device))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts without gradients: embeds (B, L, dim), mask (B, L)."""
        return self.states(prompts)
