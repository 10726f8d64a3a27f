"""XLM-R, a text encoder for a hundred languages: RoBERTa's post-norm transformer with the keys of its published files.

MAWS compares images with the state of the first token. Its files have the names of torchtext, which changed twice.
"""

# B batch, L tokens, D width

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.attention import attention, merge_heads, split_heads
from kinema.nn.initial import init_layers
from kinema.settings import named_preset
from kinema.text.published import Files, KeyTable, load_published
from kinema.text.states import TextStates
from kinema.text.tokens import TokenIds, TokenizerFile, encodable, pad_rows

START, PAD, END, UNKNOWN = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class XlmrConfig:
    """Settings of the encoder. Positions are counted from behind the padding's number, so two fewer tokens fit."""

    dim: int
    depth: int
    num_heads: int
    hidden: int
    vocabulary_size: int = 250_002
    positions: int = 514
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise UserError(f"dim={self.dim} is not a multiple of num_heads={self.num_heads}")
        if self.positions < PAD + 3:
            raise UserError(
                f"positions={self.positions} leave no room for the start and the end: take 4 or more"
            )

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text, start and end included."""
        return self.positions - PAD - 1

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> XlmrConfig:
        return cls(**values)


XLMR_PRESETS: Final = {
    "nano": XlmrConfig(dim=32, depth=2, num_heads=2, hidden=64, vocabulary_size=512, positions=34),
    "base": XlmrConfig(dim=768, depth=12, num_heads=12, hidden=3072),
    "large": XlmrConfig(dim=1024, depth=24, num_heads=16, hidden=4096),
}

_TEXT = r"(?:.*encoder\.transformer\.)?"
_OURS = r"encoder.layer.\1"


def _torchtext(layers: str, parts: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Lines for one of torchtext's ways to name a layer; `qkv` becomes three tensors."""
    lines = []
    for theirs, ours in parts.items():
        if ours == "qkv":
            names = tuple(rf"{_OURS}.attention.self.{part}.\2" for part in ("query", "key", "value"))
            lines.append((rf"{_TEXT}{layers}\.(\d+)\.{theirs}(weight|bias)", names))
        else:
            lines.append((rf"{_TEXT}{layers}\.(\d+)\.{theirs}\.(weight|bias)", (rf"{_OURS}.{ours}.\2",)))
    return tuple(lines)


_NEW = {
    r"self_attn\.in_proj_": "qkv",
    r"self_attn\.out_proj": "attention.output.dense",
    r"norm1": "attention.output.LayerNorm",
    r"linear1": "intermediate.dense",
    r"linear2": "output.dense",
    r"norm2": "output.LayerNorm",
}
_OLD = {
    r"attention\.input_projection\.": "qkv",
    r"attention\.output_projection": "attention.output.dense",
    r"attention_layer_norm": "attention.output.LayerNorm",
    r"residual_mlp\.mlp\.0": "intermediate.dense",
    r"residual_mlp\.mlp\.3": "output.dense",
    r"final_layer_norm": "output.LayerNorm",
}
_BETWEEN = {rf"better_transformer\.{theirs}": ours for theirs, ours in _NEW.items()}

XLMR_KEYS: Final = KeyTable(
    renames=(
        (r"roberta\.((?:embeddings|encoder)\..*)", (r"\1",)),
        (rf"{_TEXT}token_embedding\.weight", ("embeddings.word_embeddings.weight",)),
        (rf"{_TEXT}positional_embedding\.embedding\.weight", ("embeddings.position_embeddings.weight",)),
        (rf"{_TEXT}embedding_layer_norm\.(weight|bias)", (r"embeddings.LayerNorm.\1",)),
        *_torchtext(r"layers\.layers", _NEW),
        *_torchtext(r"layers", _BETWEEN),
        *_torchtext(r"layers", _OLD),
    ),
    drops=(
        (r"(?:roberta\.)?pooler\..*|lm_head\..*", "only other tasks need it"),
        (r"(?:roberta\.)?embeddings\.position_ids", "a constant, not a weight"),
    ),
)


class _Self(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))


class _Joined(nn.Module):
    """A linear layer, the residual, a norm: (B, L, ...) and (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, dim: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class _Attention(nn.Module):
    def __init__(self, config: XlmrConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.self = _Self(config.dim)
        self.output = _Joined(config.dim, config.dim, config.norm_eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            split_heads(p(x), self.num_heads) for p in (self.self.query, self.self.key, self.self.value)
        )
        return self.output(merge_heads(attention(q, k, v, mask)), x)


class _Intermediate(nn.Module):
    def __init__(self, config: XlmrConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.dim, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class XlmrLayer(nn.Module):
    """x = Norm(x + Attention(x)); x = Norm(x + MLP(x)): (B, L, D), mask (B, L) -> (B, L, D)."""

    def __init__(self, config: XlmrConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Joined(config.hidden, config.dim, config.norm_eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class _Embeddings(nn.Module):
    """Word, position and norm: ids (B, L), mask (B, L) -> (B, L, D)."""

    def __init__(self, config: XlmrConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary_size, config.dim, padding_idx=PAD)
        self.position_embeddings = nn.Embedding(config.positions, config.dim, padding_idx=PAD)
        self.LayerNorm = nn.LayerNorm(config.dim, config.norm_eps)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = mask.long().cumsum(1) * mask + PAD  # the first token has place 2, padding has 1
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(places))


class _Layers(nn.Module):
    def __init__(self, config: XlmrConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(XlmrLayer(config) for _ in range(config.depth))


class XlmrEncoder(nn.Module):
    """Texts -> TextStates of width `dim`, start and end token included. States at padding are zero.

    Args:
        config: the settings, usually one of XLMR_PRESETS.
        token_ids: text and token limit -> ids; without it only `forward` and `pooled` work.
    """

    def __init__(self, config: XlmrConfig, token_ids: TokenIds | None = None) -> None:
        super().__init__()
        self.config, self.token_ids = config, token_ids
        self.dim, self.max_tokens = config.dim, config.max_tokens
        self.embeddings = _Embeddings(config)
        self.encoder = _Layers(config)
        if not self.embeddings.LayerNorm.weight.is_meta:
            self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set every parameter: matrices N(0, 1/fan_in), embeddings N(0, 0.02), those of padding zero."""
        init_layers(self)
        for table in (self.embeddings.word_embeddings, self.embeddings.position_embeddings):
            nn.init.normal_(table.weight, std=0.02)
            nn.init.zeros_(table.weight[PAD])

    def forward(self, ids: Tensor, mask: Tensor) -> TextStates:
        """Token ids (B, L) and mask (B, L) bool, padded at the end -> states."""
        if ids.shape[1] > self.max_tokens:
            raise UserError(
                f"{ids.shape[1]} tokens came and this XLM-R has {self.max_tokens} positions: cut the text"
            )
        x = self.embeddings(ids, mask)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return TextStates(x.masked_fill(~mask[:, :, None], 0.0), mask)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The state of the first token, which stands for the text: (B, D)."""
        return self(ids, mask).embeds[:, 0]

    def tokens(self, texts: Sequence[str], max_tokens: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids (B, L) and mask (B, L) on the encoder's device; a text that is cut keeps its end token."""
        if self.token_ids is None:
            raise UserError(
                "this text encoder has no tokeniser: pass the path of its model file when loading it"
            )
        limit = min(max_tokens or self.max_tokens, self.max_tokens)
        ids, mask = pad_rows([self.token_ids(text, limit) for text in texts], pad=PAD)
        device = self.embeddings.LayerNorm.weight.device
        return ids.to(device), mask.to(device)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Encode texts without gradients: embeds (B, L, dim), mask (B, L), L <= max_tokens."""
        return self(*self.tokens(prompts))


class XlmrTokens:
    """The published SentencePiece model; ids are its pieces moved by one, for the padding's sake.

    Args:
        path: `sentencepiece.bpe.model`, by whatever name it was saved.
        vocabulary_size: how many tokens the encoder has embeddings for.
    """

    def __init__(self, path: str | Path, *, vocabulary_size: int | None = None) -> None:
        import sentencepiece

        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no tokeniser at '{path}': pass XLM-R's sentencepiece.bpe.model")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise UserError(f"'{path}' is not a SentencePiece model that can be read: {error}") from error
        size = self._processor.get_piece_size() + 1
        if vocabulary_size is not None and size > vocabulary_size:
            raise UserError(
                f"'{path}' has {size} tokens and the text encoder knows {vocabulary_size}: pass its own"
            )

    def __call__(self, prompt: str, max_tokens: int) -> list[int]:
        pieces: list[int] = self._processor.encode(encodable(prompt))
        ids = [piece + 1 if piece else UNKNOWN for piece in pieces]
        return [START, *ids[: max(max_tokens - 2, 0)], END][:max_tokens]


def xlmr_tokens(path: str | Path, vocabulary_size: int) -> TokenIds:
    """XLM-R's tokeniser from its tokenizer.json, or from its SentencePiece model."""
    if Path(path).suffix == ".model":
        return XlmrTokens(path, vocabulary_size=vocabulary_size)
    return TokenizerFile(path, start="<s>", end="</s>", vocabulary_size=vocabulary_size)


def load_xlmr(
    preset: str | XlmrConfig,
    weights: Files,
    tokenizer: str | Path | TokenIds,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> XlmrEncoder:
    """A frozen encoder from published files, in the layout of transformers or one of torchtext's.

    Args:
        preset: a name in XLMR_PRESETS, or settings.
        weights: a file, the shards, or a folder.
        tokenizer: tokenizer.json or sentencepiece.bpe.model, or a function from text and token limit to ids.
    """
    config = named_preset(XLMR_PRESETS, preset, "XLM-R") if isinstance(preset, str) else preset
    if isinstance(tokenizer, (str, Path)):
        tokenizer = xlmr_tokens(tokenizer, config.vocabulary_size)
    with torch.device("meta"):
        network = XlmrEncoder(config, tokenizer)
    return load_published(network, weights, XLMR_KEYS, dtype).to(device)
