"""Published files: a file, shards or a folder; the tokeniser from disk; every wrong path says what is missing."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kinema.errors import UserError
from kinema.text.published import KeyTable, weight_files
from kinema.text.t5 import T5_PRESETS, T5Encoder, load_t5
from kinema.text.tokens import SentencePieceFile, TokenizerFile, pad_rows, t5_tokens, tidy

NANO = T5_PRESETS["nano"]


def no_ids(prompt: str, limit: int) -> list[int]:
    return []


@pytest.fixture
def tokenizer_json(tmp_path):
    """A tokenizer.json that cuts, pads and adds tokens by itself, as published ones may."""
    words = ["<pad>", "</s>", "<unk>", "<s>", "a", "fox", "runs", "?"]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s> </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_the_start_and_the_end_are_ours_and_survive_the_cut(tokenizer_json):
    read = TokenizerFile(tokenizer_json, start="<s>", end="</s>")
    assert read("a fox runs", 10) == [3, 4, 5, 6, 1]
    assert read("a fox runs", 4) == [3, 4, 5, 1]
    assert read("", 10) == [3, 1]
    assert read("\ud800", 10) == [3, 7, 1]
    assert TokenizerFile(tokenizer_json.parent, end="</s>")("a bird", 10) == [4, 2, 1]


def test_tokenisers_that_are_not_the_encoders(tokenizer_json, tmp_path):
    with pytest.raises(
        UserError, match=r"no tokeniser at '.+other/tokenizer\.json'|no tokeniser at '.+other'"
    ):
        TokenizerFile(tmp_path / "other", end="</s>")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"no tokeniser at '.+empty/tokenizer\.json'"):
        TokenizerFile(empty, end="</s>")
    with pytest.raises(UserError, match="no token '<end>'"):
        TokenizerFile(tokenizer_json, end="<end>")
    with pytest.raises(UserError, match="8 tokens and the text encoder knows 7"):
        TokenizerFile(tokenizer_json, end="</s>", vocabulary_size=7)
    (tmp_path / "spiece.model").write_bytes(b"\x0a\x0e")
    with pytest.raises(UserError, match=r"not a tokenizer\.json"):
        TokenizerFile(tmp_path / "spiece.model", end="</s>")
    (empty / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="can be read"):
        TokenizerFile(empty, end="</s>")


@pytest.fixture
def spiece_model(tmp_path):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    corpus = ["a red fox runs", "a balloon rises", "the fox rises and runs"] * 8
    with (tmp_path / "spiece.model").open("wb") as file:
        trainer.train(
            sentence_iterator=iter(corpus), model_writer=file, vocab_size=40, minloglevel=2,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
        )  # fmt: skip
    return tmp_path / "spiece.model"


def test_a_sentencepiece_model(spiece_model, tokenizer_json):
    read = SentencePieceFile(spiece_model)
    words = read("a red fox", 50)
    assert words[-1] == read("", 50)[0] == 1
    assert read("  a  red fox", 50) == words
    assert read("a red fox runs", 50)[: len(words) - 1] == words[:-1]
    assert read("a red fox", 3) == [*words[:2], 1]
    assert 2 in read("\ud800", 50)
    # A folder with both is read by its tokenizer.json.
    assert isinstance(t5_tokens(spiece_model.parent, 384), TokenizerFile)
    tokenizer_json.unlink()
    for path in (spiece_model.parent, spiece_model):
        assert t5_tokens(path, 384)("a red fox", 50) == words
    with pytest.raises(UserError, match="the text encoder knows 5"):
        t5_tokens(spiece_model, 5)
    with pytest.raises(UserError, match="no tokeniser"):
        t5_tokens(spiece_model.parent / "other.model", 384)
    spiece_model.write_bytes(b"not a model")
    with pytest.raises(UserError, match="can be read"):
        t5_tokens(spiece_model, 384)


def test_rows_are_padded_at_their_end():
    ids, mask = pad_rows([[5, 6], [], [7]])
    assert ids.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert pad_rows([])[0].shape == (0, 0)


def test_tidy():
    assert tidy(" a\n\tfox &amp;amp; a&nbsp;dog ") == "a fox & a dog"


def test_shards_are_read_through_their_index(tmp_path):
    torch.manual_seed(0)
    made = T5Encoder(NANO)
    state = {**made.state_dict(), "decoder.final_layer_norm.weight": torch.zeros(3)}
    names = sorted(state)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({key: state[key].detach().clone() for key in keys}, tmp_path / shard)
    index = {"weight_map": {key: shard for shard, keys in shards.items() for key in keys}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    paths = [tmp_path / shard for shard in shards]
    for files in (tmp_path, tmp_path / "model.safetensors.index.json", paths):
        loaded = load_t5(NANO, files, no_ids).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in made.state_dict().items())
    with pytest.raises(UserError, match="missing"):
        load_t5(NANO, paths[:1], no_ids)
    paths[1].unlink()
    with pytest.raises(UserError, match="no weight file"):
        load_t5(NANO, tmp_path, no_ids)


def test_folders_and_indices_without_weights(tmp_path):
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        weight_files(tmp_path)
    with pytest.raises(UserError, match="no weight files in this list"):
        weight_files([])
    index = tmp_path / "model.safetensors.index.json"
    for text in ("{}", "not JSON", '{"weight_map": []}'):
        index.write_text(text)
        with pytest.raises(UserError, match="not an index"):
            weight_files(tmp_path)
    for names in ({"a": "../elsewhere.safetensors"}, {"a": 3}, {}):
        index.write_text(json.dumps({"weight_map": names}))
        with pytest.raises(UserError, match=r"beside it|not an index"):
            weight_files(tmp_path)


def test_a_key_table():
    table = KeyTable(
        renames=((r"old\.(\d)", (r"new.\1.a", r"new.\1.b")), (r"twin", ("own",))),
        drops=((r"junk.*", "no use"),),
    )
    file = {"old.3": torch.arange(4), "own": torch.ones(2), "junk.x": torch.ones(1), "strange": torch.ones(1)}
    kept, dropped = table.convert(file, {"own"}, "file")
    assert {name: tensor.tolist() for name, tensor in kept.items()} == {
        "new.3.a": [0, 1], "new.3.b": [2, 3], "own": [1, 1], "strange": [1],
    }  # fmt: skip
    assert dropped == {"junk.x": "no use"}
    assert table.convert({"own": torch.ones(2), "twin": torch.ones(2)}, {"own"}, "file")[0].keys() == {"own"}
    with pytest.raises(UserError, match="two different"):
        table.convert({"own": torch.ones(2), "twin": torch.zeros(2)}, {"own"}, "file")
