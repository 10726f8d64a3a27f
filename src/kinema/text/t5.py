"""The T5 family of text encoders: T5 v1.1, UL2, ByT5 and umT5, with the keys of the published weight files.

Differences to a plain transformer: positions enter as a learnt bias on the attention scores, by buckets of the
distance; scores are not scaled; norms are RMS norms; there are no biases in linear layers. Names of submodules are
those of the files (`encoder.block.0.layer.0.SelfAttention.q.weight`), so a state dict is a file.
"""

# B batch, L tokens, H heads, d head width, D width

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.attention import merge_heads, split_heads
from kinema.nn.norms import RMSNorm
from kinema.settings import named_preset
from kinema.text.published import Files, KeyTable, load_published
from kinema.text.states import TextStates
from kinema.text.tokens import TokenIds, prompt_rows, t5_tokens, tidy

FeedForward = Literal["relu", "gated-gelu", "gated-silu"]


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """Settings of an encoder. `bias_in_every_layer` is umT5's; the others share the first layer's position bias."""

    vocabulary_size: int
    dim: int
    depth: int
    num_heads: int
    head_dim: int
    hidden: int
    feed_forward: FeedForward = "gated-gelu"
    bias_in_every_layer: bool = False
    num_buckets: int = 32
    max_distance: int = 128
    norm_eps: float = 1e-6
    max_tokens: int = 512
    tidy_prompts: bool = False  # see `kinema.text.tokens.tidy`

    def __post_init__(self) -> None:
        if self.feed_forward not in get_args(FeedForward):
            raise UserError(
                f"feed_forward is {self.feed_forward!r}: it should be one of {get_args(FeedForward)}"
            )
        if self.num_buckets % 4 or self.max_distance <= self.num_buckets // 4:
            raise UserError(
                f"num_buckets={self.num_buckets} should be a multiple of 4, and max_distance={self.max_distance} "
                "more than a quarter of it"
            )
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}: it should be at least 1")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> T5Config:
        return cls(**values)


# From the config.json files beside the weights: google/ul2, google/t5-v1_1-xxl, google/byt5-small, google/umt5-xxl.
# max_tokens is not in them: UL2's and T5's training length, Wan's for umT5, and for ByT5 what an open
# reimplementation of Movie Gen takes.
T5_PRESETS: dict[str, T5Config] = {
    "nano": T5Config(
        vocabulary_size=384, dim=32, depth=2, num_heads=2, head_dim=16, hidden=64, max_tokens=64,
    ),
    "ul2": T5Config(
        vocabulary_size=32128, dim=4096, depth=32, num_heads=16, head_dim=256, hidden=16384,
        feed_forward="gated-silu",
    ),
    "t5-v1_1-xxl": T5Config(
        vocabulary_size=32128, dim=4096, depth=24, num_heads=64, head_dim=64, hidden=10240,
    ),
    "byt5-small": T5Config(
        vocabulary_size=384, dim=1472, depth=12, num_heads=6, head_dim=64, hidden=3584, max_tokens=100,
    ),
    "umt5-xxl": T5Config(
        vocabulary_size=256384, dim=4096, depth=24, num_heads=64, head_dim=64, hidden=10240,
        bias_in_every_layer=True, tidy_prompts=True,
    ),
}  # fmt: skip

_BLOCK = r"encoder.block.\1.layer"
T5_KEYS = KeyTable(
    renames=(
        (r"encoder\.embed_tokens\.weight", (r"shared.weight",)),
        # The layout of Wan's own umT5 file, models_t5_umt5-xxl-enc-bf16.pth.
        (r"token_embedding\.weight", (r"shared.weight",)),
        (r"norm\.weight", (r"encoder.final_layer_norm.weight",)),
        (r"blocks\.(\d+)\.norm1\.weight", (rf"{_BLOCK}.0.layer_norm.weight",)),
        (r"blocks\.(\d+)\.attn\.([qkvo])\.weight", (rf"{_BLOCK}.0.SelfAttention.\2.weight",)),
        (
            r"blocks\.(\d+)\.pos_embedding\.embedding\.weight",
            (rf"{_BLOCK}.0.SelfAttention.relative_attention_bias.weight",),
        ),
        (r"blocks\.(\d+)\.norm2\.weight", (rf"{_BLOCK}.1.layer_norm.weight",)),
        (r"blocks\.(\d+)\.ffn\.gate\.0\.weight", (rf"{_BLOCK}.1.DenseReluDense.wi_0.weight",)),
        (r"blocks\.(\d+)\.ffn\.fc1\.weight", (rf"{_BLOCK}.1.DenseReluDense.wi_1.weight",)),
        (r"blocks\.(\d+)\.ffn\.fc2\.weight", (rf"{_BLOCK}.1.DenseReluDense.wo.weight",)),
    ),
    drops=(
        (r"decoder\..*", "only the encoder speaks to a generator"),
        (r"lm_head\.weight", "the decoder's output layer"),
    ),
)


def relative_buckets(length: int, num_buckets: int, max_distance: int, device: torch.device) -> Tensor:
    """The bucket of the distance from every query to every key: (L, L) of integers in [0, num_buckets).

    Keys ahead of the query take the upper half. In each half, distances below a quarter of num_buckets have a bucket
    of their own, and the rest grow with the logarithm up to max_distance, beyond which there is one.
    """
    half, exact = num_buckets // 2, num_buckets // 4
    positions = torch.arange(length, device=device)
    ahead = positions[None, :] - positions[:, None]  # (query, key)
    distance = ahead.abs()
    # In float32 and in this order of operations: the weights were trained with these roundings.
    ratio = torch.log(distance.clamp(min=exact).float() / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + (ahead > 0).long() * half


class T5Attention(nn.Module):
    """Self-attention with a bias on its scores, (B, L, D) -> (B, L, D)."""

    def __init__(self, config: T5Config, has_table: bool) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        inner = config.num_heads * config.head_dim
        self.q = nn.Linear(config.dim, inner, bias=False)
        self.k = nn.Linear(config.dim, inner, bias=False)
        self.v = nn.Linear(config.dim, inner, bias=False)
        self.o = nn.Linear(inner, config.dim, bias=False)
        self.relative_attention_bias = (
            nn.Embedding(config.num_buckets, config.num_heads) if has_table else None
        )

    def position_bias(self, buckets: Tensor, seen: Tensor) -> Tensor | None:
        """Buckets (L, L) and the keys that are seen (B, L) -> bias (B, H, L, L), if this layer has a table."""
        if self.relative_attention_bias is None:
            return None
        bias = self.relative_attention_bias(buckets).permute(2, 0, 1)[None]  # (1, H, L, L)
        return bias.masked_fill(~seen[:, None, None, :], -torch.inf)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (split_heads(part(x), self.num_heads) for part in (self.q, self.k, self.v))  # (B, H, L, d)
        half = q.device.type == "cpu" and q.dtype in (torch.float16, torch.bfloat16)
        compute = torch.float32 if half else q.dtype  # PyTorch's CPU kernels are slow in half precision
        q, k, v, bias = (part.to(compute) for part in (q, k, v, bias))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return self.o(merge_heads(mixed).to(x.dtype))


class T5FeedForward(nn.Module):
    """wo(act(wi(x))), or gated: wo(act(wi_0(x)) * wi_1(x)); (B, L, D) -> (B, L, D)."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.kind = config.feed_forward
        if self.kind == "relu":
            self.wi = nn.Linear(config.dim, config.hidden, bias=False)
        else:
            self.wi_0 = nn.Linear(config.dim, config.hidden, bias=False)
            self.wi_1 = nn.Linear(config.dim, config.hidden, bias=False)
        self.wo = nn.Linear(config.hidden, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "relu":
            return self.wo(F.relu(self.wi(x)))
        gate = self.wi_0(x)
        gate = F.silu(gate) if self.kind == "gated-silu" else F.gelu(gate, approximate="tanh")
        return self.wo(gate * self.wi_1(x))


class T5AttentionLayer(nn.Module):
    """x + SelfAttention(norm(x))."""

    def __init__(self, config: T5Config, has_table: bool) -> None:
        super().__init__()
        self.SelfAttention = T5Attention(config, has_table)
        self.layer_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.SelfAttention(self.layer_norm(x), bias)


class T5FeedForwardLayer(nn.Module):
    """x + DenseReluDense(norm(x)), whatever its activation."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = T5FeedForward(config)
        self.layer_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class T5Block(nn.Module):
    """The two layers of a block."""

    def __init__(self, config: T5Config, has_table: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([T5AttentionLayer(config, has_table), T5FeedForwardLayer(config)])

    def position_bias(self, buckets: Tensor, seen: Tensor) -> Tensor | None:
        return self.layer[0].SelfAttention.position_bias(buckets, seen)  # type: ignore[union-attr,operator]

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.layer[1](self.layer[0](x, bias))


class T5Stack(nn.Module):
    """The blocks and the last norm: embedded tokens (B, L, D) -> states (B, L, D)."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.block = nn.ModuleList(
            T5Block(config, has_table=index == 0 or config.bias_in_every_layer)
            for index in range(config.depth)
        )
        self.final_layer_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        config = self.config
        buckets = relative_buckets(x.shape[1], config.num_buckets, config.max_distance, x.device)
        # A row without a visible token would divide by zero: it sees its padding, and its states are zeroed later.
        seen = mask | ~mask.any(1, keepdim=True)
        bias = None
        for block in self.block:
            own = block.position_bias(buckets, seen)  # type: ignore[operator]
            bias = bias if own is None else own
            x = block(x, bias)
        return self.final_layer_norm(x)


class T5Encoder(nn.Module):
    """Prompts -> TextStates of width `dim`. States at padding are zero, and padding does not change the others.

    Args:
        config: the settings, usually one of T5_PRESETS.
        token_ids: prompt and token limit -> ids; without it only `forward` works.
    """

    def __init__(self, config: T5Config, token_ids: TokenIds | None = None) -> None:
        super().__init__()
        self.config = config
        self.token_ids = token_ids
        self.dim, self.max_tokens = config.dim, config.max_tokens
        self.shared = nn.Embedding(config.vocabulary_size, config.dim)
        self.encoder = T5Stack(config)
        if not self.shared.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter as T5 does: unscaled attention wants small queries, the rest is N(0, 1/fan_in)."""
        for module in self.modules():
            if isinstance(module, RMSNorm):
                module.init_weights()
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=1.0 if module is self.shared else self.dim**-0.5)
        for module in self.modules():
            if isinstance(module, T5Attention):
                nn.init.normal_(module.q.weight, std=(self.dim * self.config.head_dim) ** -0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> TextStates:
        """Token ids (B, L) and mask (B, L) bool -> states; L may be 0, and a row may have no visible token."""
        if ids.numel() == 0:
            return TextStates(self.shared.weight.new_zeros(*ids.shape, self.dim), mask)
        states = self.encoder(self.shared(ids), mask)
        return TextStates(states.masked_fill(~mask[:, :, None], 0.0), mask)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts without gradients: embeds (B, L, dim), mask (B, L), L <= max_tokens."""
        texts = [tidy(prompt) for prompt in prompts] if self.config.tidy_prompts else prompts
        ids, mask = prompt_rows(texts, self.token_ids, self.max_tokens)
        device = self.shared.weight.device
        return self(ids.to(device), mask.to(device))


def load_t5(
    preset: str | T5Config,
    weights: Files,
    tokenizer: str | Path | TokenIds,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> T5Encoder:
    """A frozen encoder from published files.

    Args:
        preset: a name in T5_PRESETS, or settings.
        weights: a file, the shards, or a folder; the layout of transformers (encoder alone or whole model) or Wan's.
        tokenizer: the tokenizer.json or spiece.model (or their folder), or a function from prompt and limit to ids.
        dtype: float32 or bfloat16. T5 overflows float16.
    """
    if dtype == torch.float16:
        raise UserError("T5 encoders overflow float16: pass dtype float32 or bfloat16")
    config = named_preset(T5_PRESETS, preset, "T5") if isinstance(preset, str) else preset
    if isinstance(tokenizer, (str, Path)):
        tokenizer = t5_tokens(tokenizer, config.vocabulary_size)
    with torch.device("meta"):
        network = T5Encoder(config, tokenizer)
    return load_published(network, weights, T5_KEYS, dtype).to(device)
