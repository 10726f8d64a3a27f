"""The text tower of CLIP: OpenAI's, open_clip's and MetaCLIP's, with the keys of the published weight files.

A pre-norm transformer with a causal mask and learnt positions. A generator takes the states of all tokens behind the
last norm; the projection into the space shared with images is not part of it.
"""

# B batch, L tokens, D width

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.nn.initial import init_layers
from kinema.settings import named_preset
from kinema.text.published import Files, KeyTable, load_published
from kinema.text.states import TextStates
from kinema.text.tokens import TokenIds, TokenizerFile, prompt_rows

Activation = Literal["quick_gelu", "gelu"]
START, END = "<|startoftext|>", "<|endoftext|>"
KEPT_POSITIONS = 20  # Long-CLIP: those that short captions trained well


@dataclass(frozen=True, kw_only=True)
class ClipTextConfig:
    """Settings of a text tower."""

    dim: int
    depth: int
    num_heads: int
    hidden: int
    activation: Activation
    vocabulary_size: int = 49408
    max_tokens: int = 77
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise UserError(f"dim={self.dim} is not a multiple of num_heads={self.num_heads}")
        if self.activation not in get_args(Activation):
            raise UserError(f"activation is {self.activation!r}: it should be one of {get_args(Activation)}")
        if self.max_tokens < 2:
            raise UserError(
                f"max_tokens is {self.max_tokens}: it should be at least 2, for the start and the end"
            )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipTextConfig:
        return cls(**values)


# From the config.json files of openai/clip-vit-large-patch14 and laion/CLIP-ViT-bigG-14-laion2B-39B-b160k; MetaCLIP's
# tower has the shape of the latter and, as open_clip's list of weights says, the quick GELU.
CLIP_PRESETS: dict[str, ClipTextConfig] = {
    "nano": ClipTextConfig(
        dim=32, depth=2, num_heads=2, hidden=64, activation="quick_gelu", vocabulary_size=512, max_tokens=32,
    ),
    "openai-vit-l-14": ClipTextConfig(dim=768, depth=12, num_heads=12, hidden=3072, activation="quick_gelu"),
    "laion-vit-bigg-14": ClipTextConfig(dim=1280, depth=32, num_heads=20, hidden=5120, activation="gelu"),
    "metaclip-vit-bigg-14": ClipTextConfig(
        dim=1280, depth=32, num_heads=20, hidden=5120, activation="quick_gelu",
    ),
}  # fmt: skip

_LAYER = r"text_model.encoder.layers.\1"
_OPEN = r"(?:text\.)?transformer\.resblocks\.(\d+)"
CLIP_KEYS = KeyTable(
    renames=(
        # transformers 5 names the tower without its prefix.
        (r"(?:embeddings|encoder|final_layer_norm)\..*", (r"text_model.\g<0>",)),
        # open_clip and OpenAI's code; with "text." in front where the tower is a module of its own.
        (r"(?:text\.)?token_embedding\.weight", (r"text_model.embeddings.token_embedding.weight",)),
        (r"(?:text\.)?positional_embedding", (r"text_model.embeddings.position_embedding.weight",)),
        (r"(?:text\.)?ln_final\.(weight|bias)", (r"text_model.final_layer_norm.\1",)),
        (rf"{_OPEN}\.ln_([12])\.(weight|bias)", (rf"{_LAYER}.layer_norm\2.\3",)),
        (
            rf"{_OPEN}\.attn\.in_proj_(weight|bias)",
            tuple(rf"{_LAYER}.self_attn.{part}_proj.\2" for part in "qkv"),
        ),
        (rf"{_OPEN}\.attn\.out_proj\.(weight|bias)", (rf"{_LAYER}.self_attn.out_proj.\2",)),
        (rf"{_OPEN}\.mlp\.c_fc\.(weight|bias)", (rf"{_LAYER}.mlp.fc1.\2",)),
        (rf"{_OPEN}\.mlp\.c_proj\.(weight|bias)", (rf"{_LAYER}.mlp.fc2.\2",)),
    ),
    drops=(
        (r"(?:vision_model|visual)\..*", "the image tower"),
        (
            r"visual_projection\.weight|(?:text\.)?text_projection(?:\.weight)?",
            "only comparison with images needs it",
        ),
        (r"logit_scale|logit_bias", "only the contrastive loss needs it"),
        (r"(?:text_model\.)?embeddings\.position_ids|(?:text\.)?attn_mask", "a constant, not a weight"),
    ),
)


class ClipAttention(nn.Module):
    """Causal self-attention, (B, L, D) -> (B, L, D)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, causal: Tensor) -> Tensor:
        q, k, v = (split_heads(part(x), self.num_heads) for part in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(merge_heads(attention(q, k, v, causal)))


class ClipMLP(nn.Module):
    """fc2(act(fc1(x))), where quick GELU is x * sigmoid(1.702 x)."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.quick = config.activation == "quick_gelu"
        self.fc1 = nn.Linear(config.dim, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x))


class ClipLayer(nn.Module):
    """x += Attention(LayerNorm(x)); x += MLP(LayerNorm(x))."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.dim, config.norm_eps)
        self.self_attn = ClipAttention(config.dim, config.num_heads)
        self.layer_norm2 = nn.LayerNorm(config.dim, config.norm_eps)
        self.mlp = ClipMLP(config)

    def forward(self, x: Tensor, causal: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class ClipEmbeddings(nn.Module):
    """Token embedding plus position: (B, L) -> (B, L, D)."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary_size, config.dim)
        self.position_embedding = nn.Embedding(config.max_tokens, config.dim)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class ClipLayers(nn.Module):
    """The layers, each token seeing itself and those before it: (B, L, D) -> (B, L, D)."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(config) for _ in range(config.depth))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()[None, None]
        for layer in self.layers:
            x = layer(x, causal)
        return x


class ClipStack(nn.Module):
    """Embeddings, layers and the last norm: (B, L) -> (B, L, D)."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.embeddings = ClipEmbeddings(config)
        self.encoder = ClipLayers(config)
        self.final_layer_norm = nn.LayerNorm(config.dim, config.norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        return self.final_layer_norm(self.encoder(self.embeddings(ids)))


class ClipTextEncoder(nn.Module):
    """Prompts -> TextStates of width `dim`, start and end token included. States at padding are zero.

    Args:
        config: the settings, usually one of CLIP_PRESETS.
        token_ids: prompt and token limit -> ids; without it only `forward` works.
    """

    def __init__(self, config: ClipTextConfig, token_ids: TokenIds | None = None) -> None:
        super().__init__()
        self.config = config
        self.token_ids = token_ids
        self.dim, self.max_tokens = config.dim, config.max_tokens
        self.text_model = ClipStack(config)
        if not self.text_model.final_layer_norm.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter: matrices N(0, 1/fan_in), embeddings N(0, 0.02), positions N(0, 0.01)."""
        init_layers(self)
        nn.init.normal_(self.text_model.embeddings.token_embedding.weight, std=0.02)
        nn.init.normal_(self.text_model.embeddings.position_embedding.weight, std=0.01)

    def forward(self, ids: Tensor, mask: Tensor) -> TextStates:
        """Token ids (B, L) and mask (B, L) bool, padded at the end -> states. The causal mask hides the padding."""
        if ids.shape[1] > self.max_tokens:
            raise UserError(
                f"{ids.shape[1]} tokens came and this CLIP has {self.max_tokens} positions: grow it first"
            )
        if ids.numel() == 0:
            weight = self.text_model.final_layer_norm.weight
            return TextStates(weight.new_zeros(*ids.shape, self.dim), mask)
        return TextStates(self.text_model(ids).masked_fill(~mask[:, :, None], 0.0), mask)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode prompts without gradients: embeds (B, L, dim), mask (B, L), L <= max_tokens."""
        ids, mask = prompt_rows(prompts, self.token_ids, self.max_tokens)
        device = self.text_model.final_layer_norm.weight.device
        return self(ids.to(device), mask.to(device))

    @torch.no_grad()
    def grown(self, max_tokens: int, keep: int = KEPT_POSITIONS) -> ClipTextEncoder:
        """A copy with more positions (77 -> 256 for long prompts), to be fine-tuned on long captions."""
        state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        name = "text_model.embeddings.position_embedding.weight"
        state[name] = stretch_positions(state[name], max_tokens, keep)
        with torch.device("meta"):
            new = ClipTextEncoder(dataclasses.replace(self.config, max_tokens=max_tokens), self.token_ids)
        new.load_state_dict(state, strict=True, assign=True)
        return new.train(self.training)


def stretch_positions(table: Tensor, length: int, keep: int = KEPT_POSITIONS) -> Tensor:
    """A position table (n, D) for more positions, (length, D), in the way of Long-CLIP.

    The first `keep` rows stay. The rest is stretched evenly: row p is the old table read linearly at
    keep + (p - keep) * (n - keep) / (length - keep), and past its last row along the last two.
    """
    old = len(table)
    if length == old:
        return table.clone()
    if length < old or not 0 <= keep <= old - 2:
        raise UserError(
            f"a table of {old} positions grows to {old} or more with 0 to {old - 2} of them kept; "
            f"got {length} with {keep} kept"
        )
    places = torch.arange(length - keep, dtype=torch.float64, device=table.device)
    places = keep + places * ((old - keep) / (length - keep))
    below = places.floor().long().clamp(max=old - 2)
    share = (places - below)[:, None]  # more than 1 past the last row
    rows = table.double()
    stretched = torch.lerp(rows[below], rows[below + 1], share)
    return torch.cat([rows[:keep], stretched]).to(table.dtype)


def load_clip(
    preset: str | ClipTextConfig,
    weights: Files,
    tokenizer: str | Path | TokenIds,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> ClipTextEncoder:
    """A frozen text tower from published files.

    Args:
        preset: a name in CLIP_PRESETS, or settings.
        weights: a file, the shards, or a folder; the layout of transformers or open_clip, the image tower may be in.
        tokenizer: the tokenizer.json (or its folder), or a function from prompt and token limit to ids.
    """
    config = named_preset(CLIP_PRESETS, preset, "CLIP") if isinstance(preset, str) else preset
    if isinstance(tokenizer, (str, Path)):
        tokenizer = TokenizerFile(tokenizer, start=START, end=END, vocabulary_size=config.vocabulary_size)
    with torch.device("meta"):
        network = ClipTextEncoder(config, tokenizer)
    return load_published(network, weights, CLIP_KEYS, dtype).to(device)
