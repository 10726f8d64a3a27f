"""Prompts into token ids for the published towers, from files on the user's disk and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from kinema.errors import UserError

TokenIds = Callable[[str, int], list[int]]
"""A prompt and the most tokens that may come back -> its ids, special tokens included."""


class TokenizerFile:
    """A published `tokenizer.json`: its vocabulary and merges, with the tower's start and end tokens around.

    Args:
        path: the file, or the folder that holds it.
        end: the token behind every prompt; a prompt that is cut keeps it.
        start: the token before every prompt, if there is one.
        vocabulary_size: how many tokens the tower has embeddings for.
    """

    def __init__(
        self, path: str | Path, *, end: str, start: str | None = None, vocabulary_size: int | None = None
    ) -> None:
        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise UserError(
                f"there is no tokeniser at '{path}': pass the tokenizer.json that was published with the weights"
            )
        if path.suffix != ".json":
            raise UserError(
                f"'{path}' is not a tokenizer.json: save the tokeniser once as tokenizer.json and pass that file"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"'{path}' is not a tokenizer.json that can be read: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        _check_size(path, self._tokenizer.get_vocab_size(), vocabulary_size)
        self._start = [] if start is None else [self._special(start, path)]
        self._end = [self._special(end, path)]

    def __call__(self, prompt: str, max_tokens: int) -> list[int]:
        ids = self._tokenizer.encode(encodable(prompt), add_special_tokens=False).ids
        room = max_tokens - len(self._start) - len(self._end)
        return [*self._start, *ids[: max(room, 0)], *self._end][:max_tokens]

    def _special(self, token: str, path: Path) -> int:
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise UserError(
                f"the tokeniser '{path}' has no token {token!r}: pass the tokenizer.json of this encoder"
            )
        return number


class SentencePieceFile:
    """A published `spiece.model`, for the encoders of the T5 family that came without a tokenizer.json.

    Args:
        path: the file.
        vocabulary_size: how many tokens the encoder has embeddings for.
    """

    def __init__(self, path: str | Path, *, vocabulary_size: int | None = None) -> None:
        import sentencepiece

        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no tokeniser at '{path}': pass the spiece.model of this encoder")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise UserError(f"'{path}' is not a SentencePiece model that can be read: {error}") from error
        _check_size(path, self._processor.get_piece_size(), vocabulary_size)
        self._end = self._processor.eos_id()
        if self._end < 0:
            raise UserError(f"the tokeniser '{path}' has no end token: pass the spiece.model of this encoder")

    def __call__(self, prompt: str, max_tokens: int) -> list[int]:
        ids: list[int] = self._processor.encode(encodable(prompt))
        return [*ids[: max_tokens - 1], self._end]


def t5_tokens(path: str | Path, vocabulary_size: int) -> TokenIds:
    """The tokeniser of a T5 encoder: a tokenizer.json, a spiece.model, or the folder of either (json first)."""
    path = Path(path)
    if path.is_dir() and not (path / "tokenizer.json").is_file() and (path / "spiece.model").is_file():
        path = path / "spiece.model"
    if path.suffix == ".model":
        return SentencePieceFile(path, vocabulary_size=vocabulary_size)
    return TokenizerFile(path, end="</s>", vocabulary_size=vocabulary_size)


def _check_size(path: Path, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise UserError(
            f"the tokeniser '{path}' has {size} tokens and the text encoder knows {limit}: pass that of this encoder"
        )


def pad_rows(rows: Sequence[Sequence[int]], pad: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of ids -> ids (B, L) and mask (B, L) bool, padded at their end to the longest; L may be 0."""
    length = max(map(len, rows), default=0)
    ids = torch.full((len(rows), length), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[k, : len(row)] = True
    return ids, mask


def prompt_rows(prompts: Sequence[str], token_ids: TokenIds | None, max_tokens: int) -> tuple[Tensor, Tensor]:
    """Prompts -> ids (B, L) and mask (B, L) bool, L <= max_tokens; UserError where there is no tokeniser."""
    if token_ids is None:
        raise UserError(
            "this text encoder has no tokeniser: pass the path of its tokenizer.json when loading it"
        )
    return pad_rows([token_ids(prompt, max_tokens) for prompt in prompts])


def encodable(prompt: str) -> str:
    """The prompt with a question mark for every half of a surrogate pair, which UTF-8 cannot hold."""
    return prompt.encode("utf-8", "replace").decode("utf-8")


def tidy(prompt: str) -> str:
    """HTML entities resolved (twice, for those that were escaped twice), runs of white space into one space.

    Wan prepares its prompts so; it also repairs wrongly decoded text, which is left to the user here.
    """
    return " ".join(html.unescape(html.unescape(prompt)).split())
