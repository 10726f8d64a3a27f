"""The weight file: what is written is read, and what is no such file is refused in one sentence."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kinema.codecs import ImageVAE, ImageVAEConfig, to_settings
from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import MovieGenTransformer
from kinema.systems.movie_gen.video.parts import METADATA_KEY, SCHEMA, load_parts, save_parts
from kinema.text.characters import CharacterCodes


@pytest.fixture
def saved(parts, tmp_path):
    save_parts(parts, tmp_path / "model.safetensors", torch.float32)
    return tmp_path / "model.safetensors"


def rewrite(path, change=None, describe=None):
    """The same file with other tensors, or with other settings."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        settings = json.loads(file.metadata()[METADATA_KEY])
    if change:
        change(tensors)
    if describe:
        describe(settings)
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(settings)})
    return path


def test_save_and_load_are_equal_bit_for_bit(parts, saved):
    loaded = load_parts(saved)
    assert loaded.prompt_style == parts.prompt_style
    assert loaded.text.tokenizer.to_str() == parts.text.tokenizer.to_str()
    assert (loaded.codec.config, loaded.text.config, loaded.transformer.config) == (
        parts.codec.config, parts.text.config, parts.transformer.config,
    )  # fmt: skip
    for name, module in parts.modules.items():
        state = loaded.modules[name].state_dict()
        assert state.keys() == module.state_dict().keys()
        assert all(torch.equal(state[key], value) for key, value in module.state_dict().items()), name
        assert all(value.dtype == torch.float32 for value in state.values())


def test_half_precision_is_half_the_file_and_loads_as_float32(parts, saved, tmp_path):
    save_parts(parts, tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.75 * saved.stat().st_size
    for name, module in load_parts(tmp_path / "half.safetensors").modules.items():
        for key, value in module.state_dict().items():
            written = parts.modules[name].state_dict()[key].half().float()
            assert torch.equal(value, written), (name, key)


def test_equal_parts_give_equal_files(make_parts, saved, tmp_path):
    save_parts(make_parts(), tmp_path / "again.safetensors", torch.float32)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_freezing_stops_gradients_and_training_mode(parts):
    parts.freeze()
    for module in parts.modules.values():
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("transformer.patch_in.weight"), r"1 is missing \(patch_in.weight\)"),
        (lambda t: t.update({"codec.more": torch.ones(1)}), r"1 is unexpected \(more\)"),
        (lambda t: t.update({"text.norm.weight": torch.ones(3)}), r"norm.weight is \(3,\) and should be \(16,\)"),
        (lambda t: t.update({"vocoder.x": torch.ones(1)}), "weights of no part of the model, such as 'vocoder.x'"),
        (lambda t: t.update({"text.norm.weight": torch.full((16,), torch.inf)}), "not finite"),
    ],
)  # fmt: skip
def test_wrong_weights_are_refused(saved, change, sentence):
    with pytest.raises(UserError, match=sentence):
        load_parts(rewrite(saved, change=change))


IMAGE_CODEC = ImageVAEConfig(
    latent_channels=4, base_channels=8, multipliers=(1, 2), encoder_blocks=(0, 0), decoder_blocks=(0, 0),
    norm_groups=4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("describe", "sentence"),
    [
        (lambda s: s.update(schema=SCHEMA + 1), f"written with schema {SCHEMA + 1} and this kinema reads {SCHEMA}"),
        (lambda s: s.pop("schema"), "does not describe a Movie Gen Video model"),
        (lambda s: s.pop("tokenizer"), "does not describe a Movie Gen Video model"),
        (lambda s: s.update(tokenizer="{}"), "does not describe a Movie Gen Video model"),
        (lambda s: s.update(text={"depht": 3}), "does not describe a Movie Gen Video model"),
        (lambda s: s.update(transformer=None), "does not describe a Movie Gen Video model"),
        (lambda s: s["transformer"].update(dpeth=3), "no setting 'dpeth'; the closest are depth"),
        (lambda s: s.update(prompt_style="haiku"), "does not describe a Movie Gen Video model"),
        (lambda s: s["text"].update(vocabulary_size=200), "does not describe a Movie Gen Video model"),
        (lambda s: s.update(codec=to_settings(ImageVAE(IMAGE_CODEC))), "does not describe a Movie Gen Video model"),
    ],
)  # fmt: skip
def test_wrong_descriptions_are_refused(saved, describe, sentence):
    with pytest.raises(UserError, match=sentence):
        load_parts(rewrite(saved, describe=describe))


def test_foreign_files_are_refused(saved, tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"'foreign\.safetensors' does not describe a Movie Gen Video model"):
        load_parts(tmp_path / "foreign.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "list.safetensors", metadata={METADATA_KEY: "[1]"})
    with pytest.raises(UserError, match="does not describe"):
        load_parts(tmp_path / "list.safetensors")
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(UserError, match="is damaged"):
        load_parts(saved)
    with pytest.raises(UserError, match="no weight file"):
        load_parts(tmp_path / "gone.safetensors")


def test_what_spells_quoted_words_travels_with_the_file(make_parts, tmp_path):
    parts = make_parts()
    parts.characters = CharacterCodes(3)
    config = dataclasses.replace(parts.transformer.config, text_dims=(16, parts.characters.dim))
    parts.transformer = MovieGenTransformer(config)
    save_parts(parts, tmp_path / "spells.safetensors")
    loaded = load_parts(tmp_path / "spells.safetensors")
    assert loaded.characters is not None
    words, letters = loaded.read(['a sign that says "HI"', "a fox"], one_length=True)
    assert words.embeds.shape == (2, 24, 16)
    assert letters.mask.sum(1).tolist() == [2, 0]
    bad = rewrite(tmp_path / "spells.safetensors", describe=lambda settings: settings.update(characters=7))
    with pytest.raises(UserError, match="does not describe"):
        load_parts(bad)


def test_a_tokeniser_that_unpacks_without_end_is_refused(saved, monkeypatch):
    monkeypatch.setattr("kinema.text.tokenizer.MAX_UNPACKED", 100)
    with pytest.raises(UserError, match="does not describe"):
        load_parts(saved)


def test_files_with_a_plain_tokeniser_are_read(parts, saved):
    plain = parts.text.tokenizer.to_str()
    loaded = load_parts(rewrite(saved, describe=lambda settings: settings.update(tokenizer=plain)))
    assert loaded.text.tokenizer.to_str() == plain
