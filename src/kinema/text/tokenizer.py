"""A byte-level BPE tokeniser: trained on a corpus of captions, it still takes any text at all."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from kinema.errors import UserError

PAD, START = "<pad>", "<s>"

MAX_UNPACKED = 1 << 24  # bytes that a file may unpack to


def train_tokenizer(corpus: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Learn merges from a corpus. The same corpus gives the same tokeniser."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def tokenize(tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, L) and mask (B, L) bool; each prompt opens with the start token, so none is empty."""
    start, pad = special(tokenizer, START), special(tokenizer, PAD)
    rows = [[start, *e.ids][:max_tokens] for e in tokenizer.encode_batch(list(prompts))]
    length = max(map(len, rows), default=1)
    ids = torch.full((len(rows), length), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
        mask[k, : len(row)] = True
    return ids, mask


def special(tokenizer: Tokenizer, name: str) -> int:
    """The id of a special token; UserError for a tokeniser that was trained elsewhere and lacks it."""
    number: int | None = tokenizer.token_to_id(name)
    if number is None:
        raise UserError(f"this tokeniser has no token {name!r}: use one that train_tokenizer made")
    return number


def packed(text: str) -> str:
    """A text in a fraction of its length, in characters that JSON leaves alone."""
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(text: str) -> str:
    """What `packed` was given; texts of files from before it come as they are. Raises ValueError for damaged ones."""
    if text.startswith("{"):
        return text
    opened = zlib.decompressobj()
    plain = opened.decompress(base64.b85decode(text), MAX_UNPACKED)
    if not opened.eof:
        raise ValueError(f"the tokeniser is cut short, or longer than {MAX_UNPACKED} bytes")
    return plain.decode()
