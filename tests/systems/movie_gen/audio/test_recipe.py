"""Training data that is pure in its numbers, a few steps of every stage, resume, and the file at the end."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

from kinema.codecs import DacVAE, DacVAEConfig
from kinema.errors import UserError
from kinema.systems.movie_gen.audio import recipe as room
from kinema.systems.movie_gen.audio.clips import BLOCK, TwoLengths, WorldSounds, block_order, damaged
from kinema.systems.movie_gen.audio.model import AudioTransformerConfig, MovieGenAudioTransformer
from kinema.systems.movie_gen.audio.parts import AudioParts, load_parts, save_parts
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio
from kinema.systems.movie_gen.audio.text_recipe import SoundWords, new_text_encoder, text_batch, text_loss
from kinema.systems.movie_gen.audio.visual import FrameNet
from kinema.text.nano import NanoTextConfig
from kinema.train import BatchIndex, run_stages
from kinema.world.scene import WorldSpec, sample_scene
from kinema.world.sound.mix import render_sound
from tests.systems.movie_gen.audio.conftest import CHANNELS, FRAMES, RATE, FramingCodec, stirred

SECONDS = 0.4  # ten latent frames


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    return WorldSounds(FramingCodec(), FrameNet(FRAMES), seconds=SECONDS, scenes=4 * BLOCK)


def index(step, count=8, world_seed=0):
    return BatchIndex(
        step=step, microbatch=0, indices=range(step * count, (step + 1) * count), seed=world_seed
    )


def test_batches_are_pure_in_their_numbers(source):
    whole = source.batch(range(5, 29))
    assert whole.latent.shape == (24, CHANNELS, 10)
    assert whole.visual.shape == (24, 10, 12)
    assert bool(whole.seen.all())
    other = WorldSounds(source.codec, source.frames, seconds=SECONDS, scenes=4 * BLOCK)
    late = other.batch(range(17, 29))  # another order, another process
    for name in ("latent", "visual"):
        assert torch.equal(getattr(whole, name)[12:], getattr(late, name))
    assert whole.texts[12:] == late.texts


def test_scenes_come_again_in_another_order_with_other_words(source):
    first, second = source.batch(range(32)), source.batch(range(32, 64))
    assert block_order(4, 0, 0) == (0, 1, 2, 3)
    assert sorted(first.latent.sum((1, 2)).tolist()) == pytest.approx(
        sorted(second.latent.sum((1, 2)).tolist())
    )
    assert set(first.texts) != set(second.texts)
    orders = {block_order(8, turn, 0) for turn in range(6)}
    assert len(orders) == 6


def test_damaged_copies_are_labelled_and_sound_so(source):
    texts = source.batch(range(32)).texts
    qualities = [float(re.search(r"quality: ([\d.]+)\.", text).group(1)) for text in texts]
    assert qualities == [4.0 if k % 4 == 3 else 8.0 for k in range(32)]
    scenes = [sample_scene("train", i, WorldSpec(vocabulary="nano")) for i in range(6)]
    for scene, sound in zip(scenes, render_sound(scenes, RATE), strict=True):
        bad = damaged(sound, scene, RATE)
        assert torch.equal(bad, damaged(sound, scene, RATE))
        ratio = 10 * torch.log10(sound.square().mean() / (bad - sound).square().mean())
        assert -3 < ratio < 13
    clean = WorldSounds(source.codec, source.frames, seconds=SECONDS, scenes=8, noisy=0).batch(range(8))
    assert all("quality: 8.0" in text for text in clean.texts)


def test_every_eleventh_clean_batch_has_no_frames_and_every_sixth_is_long():
    torch.manual_seed(0)
    codec, frames = FramingCodec(), FrameNet(FRAMES)
    short, long = (
        WorldSounds(codec, frames, seconds=s, scenes=BLOCK, noisy=0, silent_every=11) for s in (0.2, SECONDS)
    )
    both = TwoLengths(short, long)
    found = [both(index(step)) for step in range(12)]
    assert [batch.latent.shape[2] == 10 for batch in found] == [step % 6 == 5 for step in range(12)]
    assert [len(batch.texts) for batch in found] == [4 if step % 6 == 5 else 8 for step in range(12)]
    assert [bool(batch.seen.any()) for batch in found] == [step != 10 for step in range(12)]


@pytest.fixture(scope="module")
def nano_parts():
    torch.manual_seed(0)
    codec = DacVAE(DacVAEConfig(
        rate=RATE, latent_channels=6, rates=(4, 4), encoder_widths=(40, 8, 8), trunk=8, decoder_widths=(8, 8, 40),
        frame=40,
    ))  # fmt: skip
    text = new_text_encoder(
        NanoTextConfig(vocabulary_size=320, dim=16, depth=1, num_heads=2, hidden=24, max_tokens=112),
        scenes=40,
    )
    config = AudioTransformerConfig(
        dim=16, depth=1, num_heads=2, hidden=24, latent_channels=6, visual_dim=12, text_dim=16, max_frames=20
    )
    return AudioParts(codec, FrameNet(FRAMES), text, MovieGenAudioTransformer(config))


def test_words_are_aligned_with_what_sounds(nano_parts):
    torch.manual_seed(0)
    words = SoundWords(copy.deepcopy(nano_parts.text), num_heads=2)
    optimizer, losses = torch.optim.Adam(words.parameters(), lr=1e-2), []
    batch = text_batch(index(0, 24))
    for _ in range(8):
        loss, logs = text_loss(words, batch, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert 0 <= logs["bed_accuracy"] <= 1
    assert all(bool(p.grad.any()) for p in words.encoder.blocks.parameters())


def small_stages(parts, steps, monkeypatch):
    monkeypatch.setattr(room, "SHORT", 0.2)
    monkeypatch.setattr(room, "LONG", SECONDS)
    return [
        room.pretrain_stage(parts, steps=steps, batch_size=8, scenes=2 * BLOCK * 6),
        room.finetune_stage(parts, steps=2, batch_size=8, scenes=BLOCK * 6),
    ]


def test_a_run_trains_and_resumes_to_the_same_numbers(nano_parts, tmp_path, monkeypatch):
    one, two = copy.deepcopy(nano_parts), copy.deepcopy(nano_parts)
    start = copy.deepcopy(one.transformer.state_dict())
    run_stages(small_stages(one, 7, monkeypatch), tmp_path / "one", precision="fp32")
    assert any(not torch.equal(value, start[name]) for name, value in one.transformer.state_dict().items())
    stages = small_stages(two, 7, monkeypatch)
    stages[0].checkpoint_every = 3

    class StopError(Exception):
        pass

    loss = stages[0].loss
    calls = []

    def stopping(model, batch, generator):
        calls.append(1)
        if len(calls) == 5:
            raise StopError
        return loss(model, batch, generator)

    stages[0].loss = stopping
    with pytest.raises(StopError):
        run_stages(stages, tmp_path / "two", precision="fp32")
    two = copy.deepcopy(nano_parts)
    stages = small_stages(two, 7, monkeypatch)
    stages[0].checkpoint_every = 3
    run_stages(stages, tmp_path / "two", precision="fp32")
    for name, value in two.transformer.state_dict().items():
        assert torch.equal(value, one.transformer.state_dict()[name]), name


def test_one_file_holds_the_system(nano_parts, tmp_path):
    parts = copy.deepcopy(nano_parts)
    stirred(parts.transformer)
    save_parts(parts, tmp_path / "model.safetensors", torch.float32)
    back = load_parts(tmp_path / "model.safetensors")
    asked = {"seconds": 0.5, "seeds": [1], "steps": 1}
    one = MovieGenAudio(parts, precision="fp32").generate(["waves"], **asked)[0]
    two = MovieGenAudio(back, precision="fp32").generate(["waves"], **asked)[0]
    torch.testing.assert_close(
        torch.from_numpy(one.samples), torch.from_numpy(two.samples), atol=1e-5, rtol=1e-4
    )


def test_files_that_are_no_such_model_are_refused(nano_parts, tmp_path):
    from safetensors.torch import load_file, save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not describe"):
        load_parts(tmp_path / "other.safetensors")
    path = tmp_path / "model.safetensors"
    save_parts(nano_parts, path)
    from kinema.weights import read_header

    metadata = dict(read_header(path).metadata)
    save_file({**load_file(path), "extra.weight": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(UserError, match="no part of the model"):
        load_parts(path)
    framing = AudioParts(FramingCodec(), nano_parts.frames, nano_parts.text, nano_parts.transformer)
    with pytest.raises(UserError, match="nano's codec"):
        save_parts(framing, path)


def test_nano_weighs_less_than_eight_megabytes(tmp_path):
    from kinema.systems.movie_gen.audio.model import preset
    from kinema.systems.movie_gen.audio.text_recipe import CONFIG

    text = new_text_encoder(CONFIG, scenes=200)
    codec, frames = DacVAE(DacVAEConfig.preset("nano")), FrameNet()
    config = preset("nano", latent_channels=codec.spec.channels)
    parts = AudioParts(codec, frames, text, MovieGenAudioTransformer(config))
    path = tmp_path / "model.safetensors"
    save_parts(parts, path)
    assert path.stat().st_size < 8_000_000
    assert isinstance(load_parts(path).codec, nn.Module)
    assert preset("nano").latent_channels == codec.spec.channels
    captions = list(text_batch(index(0, 64))[0])
    longest = max(len(e.ids) + 1 for e in text.tokenizer.encode_batch(captions))
    assert longest <= text.max_tokens
