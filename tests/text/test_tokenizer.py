"""The tokeniser: any text at all, the start token, the cut, the same merges every time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from kinema.errors import UserError
from kinema.text.tokenizer import PAD, START, special, tokenize, train_tokenizer

CORPUS = ["a red fox bounces to the right", "a balloon rises, snow", "a sailboat slides left, beach"] * 4


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(CORPUS, 320)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(text=st.text(max_size=60))
def test_any_text_encodes_and_comes_back(tokenizer, text):
    # Byte-level: nothing is unknown. The normaliser folds width and case; what it leaves must return as it was.
    encoded = tokenizer.encode(text)
    normal = tokenizer.normalizer.normalize_str(text)
    if PAD not in normal and START not in normal:
        assert tokenizer.decode(encoded.ids).removeprefix(" ") == normal.removeprefix(" ")


def test_case_and_width_do_not_count(tokenizer):
    assert tokenizer.encode("A Red \uff26\uff2f\uff38").ids == tokenizer.encode("a red fox").ids


def test_merges_are_learnt_from_the_corpus(tokenizer):
    assert len(tokenizer.encode("bounces").ids) < len(tokenizer.encode("zwqxvkj").ids)
    assert tokenizer.get_vocab_size() <= 320


def test_the_same_corpus_gives_the_same_tokeniser(tokenizer):
    assert train_tokenizer(CORPUS, 320).to_str() == tokenizer.to_str()
    assert Tokenizer.from_str(tokenizer.to_str()).encode("snow").ids == tokenizer.encode("snow").ids


def test_rows_open_with_the_start_token_and_end_in_padding(tokenizer):
    ids, mask = tokenize(tokenizer, ["", "a fox", "a red fox bounces to the right"], 48)
    start, pad = special(tokenizer, START), special(tokenizer, PAD)
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert ids[:, 0].tolist() == [start] * 3
    assert mask.sum(1).tolist() == [1, 1 + len(tokenizer.encode("a fox").ids), ids.shape[1]]
    assert (ids[~mask] == pad).all()
    assert not (ids[mask] == pad).any()


def test_a_long_prompt_is_cut_at_its_end(tokenizer):
    words = "a fox " * 100
    whole, _ = tokenize(tokenizer, [words], 10_000)
    ids, mask = tokenize(tokenizer, [words, "a"], 7)
    assert ids.shape == (2, 7)
    assert torch.equal(ids[0], whole[0, :7])
    assert mask[0].all()


def test_no_prompts_at_all_are_an_empty_batch(tokenizer):
    ids, mask = tokenize(tokenizer, [], 8)
    assert len(ids) == len(mask) == 0


def test_a_foreign_tokeniser_is_refused():
    with pytest.raises(UserError, match="has no token '<s>'"):
        tokenize(Tokenizer(models.BPE()), ["a"], 8)
