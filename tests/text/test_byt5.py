"""ByT5: bytes as its tokeniser makes them, and only the quoted words."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from kinema.errors import UserError
from kinema.text.byt5 import byte_ids, load_byt5, quoted_ids, quoted_words
from kinema.text.t5 import T5_PRESETS, T5Encoder
from tests.parity import peer

QUOTES = [
    ('a neon sign that says "OPEN"', "OPEN"),
    ('"OPEN" above, "24 hours" below', "OPEN\n24 hours"),
    ("a sign with “Café”", "Café"),
    ('mixed: “Café"', "Café"),
    ("ein Schild: „Geöffnet“", "Geöffnet"),
    ("un panneau « Ouvert »", "Ouvert"),
    ("写着「你好」的牌子", "你好"),
    ('写着"你好"的牌子', "你好"),
    ("写着'你好'的牌子", "你好"),
    ("a mug with 'Best Dad'", "Best Dad"),
    ("a mug with ‘Best Dad’.", "Best Dad"),
    ("the poster 'don't panic' on a wall", "don't panic"),
    ("the poster ‘don’t panic’ on a wall", "don’t panic"),
    ("it's the dogs' bowl, and the cats' too", ""),
    ("rock 'n' roll in the '90s, get 'em before the boys' game", ""),
    ("a '90s diner with 'EAT' in red", "EAT"),
    ("the word 'cause' on a board", "cause"),
    ('a 27" monitor that shows "HELLO"', "HELLO"),
    ("she is 5'10\" tall", ""),
    ('the label "it\'s hot"', "it's hot"),
    ("the title “She said ‘hi’”", "She said ‘hi’"),
    ('a lone " quote', ""),
    ('"" and "  "', ""),
    ('"two\nlines"', "two\nlines"),
    ("(‘a’) ('b')", "a\nb"),
    ("nothing is quoted here", ""),
    ("", ""),
]


@pytest.mark.parametrize(("prompt", "words"), QUOTES)
def test_only_quoted_words_are_seen(prompt, words):
    assert quoted_words(prompt) == words
    assert quoted_ids(prompt, 10_000) == (byte_ids(words, 10_000) if words else [])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(prompt=st.text(alphabet="ab 1'\"‘’“”„«»\n", max_size=24))
def test_what_is_seen_stood_in_the_prompt(prompt):
    assert all(line.strip() in prompt for line in quoted_words(prompt).split("\n"))


@pytest.mark.parametrize("text", ["", "Open 24h!", "Café – 你好 🦊", "  spaces  kept "])
@pytest.mark.parametrize("limit", [4, 100])
def test_bytes_are_those_of_the_published_tokeniser(text, limit):
    theirs = peer("transformers").ByT5Tokenizer()
    assert byte_ids(text, limit) == theirs(text, truncation=True, max_length=limit).input_ids


def test_ids_are_bytes_and_three():
    assert byte_ids("AB", 100) == [68, 69, 1]
    assert byte_ids("AB", 1) == [1]
    assert byte_ids("half a pair: \ud800", 100)[-2] == ord("?") + 3


def test_prompts_without_quotes_have_no_visible_token():
    torch.manual_seed(0)
    encoder = T5Encoder(T5_PRESETS["nano"], quoted_ids)
    none = encoder.encode(["a fox runs", ""])
    assert none.embeds.shape == (2, 0, 32)
    assert none.mask.shape == (2, 0)
    some = encoder.encode(["a fox runs", 'a sign "HI"', "a sign 'HELLO'"])
    assert some.mask.sum(1).tolist() == [0, 3, 6]
    assert some.embeds.isfinite().all()
    assert not some.embeds[~some.mask].any()
    alone = encoder.encode(["'HI'"])
    assert (alone.embeds[0] - some.embeds[1, :3]).abs().max() < 1e-5
    assert encoder.encode([]).embeds.shape == (0, 0, 32)


def test_a_row_without_tokens_has_finite_gradients():
    torch.manual_seed(0)
    encoder = T5Encoder(T5_PRESETS["nano"])
    ids = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.tensor([[False] * 5, [True] * 3 + [False] * 2])
    encoder(ids, mask).embeds.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_byt5_loads_from_a_file(tmp_path):
    torch.manual_seed(0)
    made = T5Encoder(T5_PRESETS["nano"], quoted_ids)
    save_file(made.state_dict(), tmp_path / "model.safetensors")
    loaded = load_byt5(tmp_path, "nano")
    assert torch.equal(loaded.encode(['"HI"']).embeds, made.encode(['"HI"']).embeds)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(UserError, match="do not fit"):
        load_byt5(tmp_path / "model.safetensors", "byt5-small")
