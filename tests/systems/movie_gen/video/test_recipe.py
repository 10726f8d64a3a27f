"""The recipe: what a batch is, what the loss learns, and that a run of all stages ends in a file that makes clips."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from kinema.cli import app, shell
from kinema.errors import UserError
from kinema.media import Video
from kinema.systems.movie_gen.video import codec_recipe, recipe, text_recipe
from kinema.systems.movie_gen.video.parts import load_parts, save_parts
from kinema.systems.movie_gen.video.pipeline import MovieGenVideo
from kinema.systems.movie_gen.video.recipe import (
    CURATED_WORLD,
    NANO_WORLD,
    Batch,
    FolderSource,
    WorldSource,
    average,
    video_loss,
)
from kinema.text.characters import CharacterCodes
from kinema.train import BatchIndex, run_stages
from kinema.world.batches import WorldClips


def index(step, start, count):
    return BatchIndex(step=step, microbatch=0, indices=range(start, start + count))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- batches ------------------------------------------------------------------------------------------------


def test_world_batches_are_pure_in_the_indices():
    source = WorldSource(NANO_WORLD, picture_every=3)
    for step in (1, 3):  # clips, then pictures
        whole = source(index(step, 4, 4))
        again = WorldSource(NANO_WORLD, picture_every=3)(index(step, 4, 4))
        assert torch.equal(whole.pixels, again.pixels)
        assert whole.texts == again.texts
        # Two processes with half the batch each see the same samples as one with all of it.
        halves = [source(index(step, 4, 2)), source(index(step, 6, 2))]
        assert torch.equal(torch.cat([half.pixels for half in halves]), whole.pixels)
        assert halves[0].texts + halves[1].texts == whole.texts


def test_every_so_often_a_batch_is_pictures():
    source = WorldSource(CURATED_WORLD, picture_every=3, pictures_per_clip=2)
    shapes = [source(index(step, 0, 1)).pixels.shape for step in range(4)]
    assert shapes == [(2, 3, 1, 64, 64), (1, 3, 16, 64, 64), (1, 3, 16, 64, 64), (2, 3, 1, 64, 64)]
    assert WorldSource(CURATED_WORLD, picture_every=0)(index(0, 0, 1)).pixels.shape[2] == 16


def test_codec_batches_are_pure_and_a_quarter_of_them_is_pictures():
    clips, pictures = codec_recipe.codec_batch(index(2, 6, 1)), codec_recipe.codec_batch(index(3, 6, 1))
    assert (clips.shape, pictures.shape) == ((1, 3, 16, 64, 64), (8, 3, 1, 64, 64))
    assert torch.equal(codec_recipe.codec_batch(index(2, 5, 2))[1:], clips)
    assert torch.equal(codec_recipe.codec_batch(index(3, 5, 2))[8:], pictures)


@pytest.fixture
def folder(tmp_path):
    """Three captioned clips of plain colours."""
    root = tmp_path / "clips"
    root.mkdir()
    for name, value in (("a", 30), ("b", 120), ("c", 220)):
        Video(np.full((16, 64, 64, 3), value, np.uint8), 8.0).write(root / f"{name}.mp4")
        (root / f"{name}.txt").write_text(f"clip {name}")
    return root


def test_a_folders_clips_come_with_the_rates_tag(folder):
    batch = FolderSource(folder, seed=1)(index(0, 0, 3))
    assert batch.pixels.shape == (3, 3, 16, 64, 64)
    assert sorted(batch.texts) == ["FPS-8: clip a", "FPS-8: clip b", "FPS-8: clip c"]
    again = FolderSource(folder, seed=1)(index(0, 1, 1))
    assert torch.equal(again.pixels[0], batch.pixels[1])
    assert again.texts == batch.texts[1:2]


# ---- the loss -----------------------------------------------------------------------------------------------


def test_a_few_steps_lower_the_loss_and_touch_the_transformer_alone(parts):
    clip = torch.linspace(-1, 1, 16).expand(2, 3, 8, 16, 16) * torch.tensor([1.0, -0.5]).view(2, 1, 1, 1, 1)
    batch = Batch(clip, ["a fox", "a balloon"])
    loss, model = video_loss(parts), parts.transformer
    before = {name: copy.deepcopy(module.state_dict()) for name, module in parts.modules.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)

    def measure():
        with torch.no_grad():
            return float(torch.stack([loss(model, batch, seeded(s))[0] for s in range(100, 108)]).mean())

    first = measure()
    for step in range(30):
        value, logs = loss(model, batch, seeded(step))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert measure() < 0.6 * first
    assert set(logs) == {"velocity_rms"}
    for name in ("codec", "text"):
        state = parts.modules[name].state_dict()
        assert all(torch.equal(state[key], value) for key, value in before[name].items())
        assert all(parameter.grad is None for parameter in parts.modules[name].parameters())


def test_some_prompts_are_left_out_and_the_generator_says_which(parts, monkeypatch):
    seen = []
    encode = parts.text.encode
    monkeypatch.setattr(parts.text, "encode", lambda texts: seen.append(list(texts)) or encode(texts))
    batch = Batch(torch.zeros(200, 3, 1, 8, 8), [f"clip {number}" for number in range(200)])
    loss = video_loss(parts)
    values = [float(loss(parts.transformer, batch, seeded(s))[0].detach()) for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert seen[0] == seen[1] != seen[2]
    assert 8 <= seen[0].count("") <= 35  # a tenth of 200
    assert all(text in ("", batch.texts[k]) for k, text in enumerate(seen[0]))


# ---- averaging and statistics -------------------------------------------------------------------------------


def test_averaging_is_the_mean_of_every_weight():
    models = [nn.Linear(3, 2) for _ in range(3)]
    mean = average(models)
    assert mean.keys() == models[0].state_dict().keys()
    for name, value in mean.items():
        assert torch.allclose(value, sum(m.state_dict()[name] for m in models) / 3)
    one = average(models[:1])
    assert all(torch.equal(one[name], value) for name, value in models[0].state_dict().items())


@pytest.fixture
def small_clips(monkeypatch):
    """The codec's statistics from clips of 4 frames of 16x16: the same code in a hundredth of the time."""
    clips = WorldClips(spec=codec_recipe.SPEC, num_frames=4, height=16, width=16)
    monkeypatch.setattr(codec_recipe, "CLIPS", clips)
    return clips


def test_the_latent_is_normal_where_it_matters(world_parts, small_clips):
    codec = world_parts.codec
    codec_recipe.linear_init_(codec, small_clips.pixels(range(64)))
    codec_recipe.finish_statistics(codec)
    with torch.no_grad():
        latent = codec.encode(small_clips.pixels(range(256)))
    spread = latent.std((0, 2, 3, 4))
    assert latent.mean((0, 2, 3, 4)).abs().max() < 0.1
    # The first component moves pixels most: unit variance. Later ones are quieter, down to a quarter.
    assert spread[0] == pytest.approx(1.0, abs=0.1)
    assert 0.2 < spread.min() < 0.4
    assert spread.max() < 1.1
    mean, std = codec.spec.mean.clone(), codec.spec.std.clone()
    codec_recipe.finish_statistics(codec)  # a resumed run does it again
    assert torch.equal(codec.spec.mean, mean)
    assert torch.equal(codec.spec.std, std)


# ---- whole runs ---------------------------------------------------------------------------------------------


def short(stages, steps=2, batch_size=2):
    for stage in stages:
        stage.steps, stage.batch_size, stage.warmup_steps, stage.prefetch = steps, batch_size, 0, 0
        stage.validate = None
    return stages


def run(made, out):
    run_stages(short(made.stages), out, device="cpu", progress=False)
    return made.finish(out / "final")


@pytest.fixture
def small_networks(monkeypatch, world_parts, small_clips):
    """`new_parts` finds a small codec and text encoder, each time a fresh copy."""
    monkeypatch.setattr(codec_recipe, "new_codec", lambda: copy.deepcopy(world_parts.codec))
    monkeypatch.setattr(text_recipe, "new_text_encoder", lambda: copy.deepcopy(world_parts.text))
    dims = (world_parts.text.dim, CharacterCodes().dim)
    config = replace(world_parts.transformer.config, text_dims=dims)
    monkeypatch.setattr(recipe, "preset", lambda name, **changes: config)


def test_from_nothing_to_a_file_and_again_to_the_same_file(small_networks, tmp_path):
    made = recipe.recipe(seed=3)
    names = [stage.name for stage in made.stages]
    assert names == ["codec", "text", "pictures", "video", "words", "spelling", "curated-0", "curated-1"]
    path = run(made, tmp_path / "run")
    first = path.read_bytes()
    parts = load_parts(path)
    assert parts.prompt_style == "world"
    assert parts.characters is not None
    finals = [stage.model for stage in made.stages]
    assert torch.equal(parts.codec.spec.std, finals[0].spec.std.half().float())  # measured on the way
    assert not torch.allclose(parts.codec.spec.std, torch.ones(()))
    arms = [model.state_dict()["patch_in.weight"] for model in finals[-2:]]
    assert not torch.equal(*arms)
    assert torch.equal(parts.transformer.patch_in.weight, (torch.stack(arms).mean(0)).half().float())
    (clip,) = MovieGenVideo(parts).generate(["a fox rests in the snow"], seeds=[1], steps=2)
    assert clip.video.frames.shape == (16, 64, 64, 3)
    # The same command on the finished run trains nothing and writes the same file, bit for bit.
    path.unlink()
    assert run(recipe.recipe(seed=3), tmp_path / "run").read_bytes() == first


def test_finetuning_given_weights_on_a_folder(world_parts, folder, tmp_path):
    world_parts.prompt_style = "world"
    save_parts(world_parts, tmp_path / "start.safetensors", torch.float32)
    made = recipe.recipe(data=folder, init=tmp_path / "start.safetensors")
    assert [stage.name for stage in made.stages] == ["finetune"]
    parts = load_parts(run(made, tmp_path / "run"))
    assert parts.prompt_style == "free"  # other people's clips are not spoken of in the world's captions
    moved = parts.transformer.state_dict()
    start = world_parts.transformer.state_dict()
    assert any(not torch.equal(moved[key], start[key].half().float()) for key in start)
    for name in ("codec", "text"):
        state = parts.modules[name].state_dict()
        for key, value in world_parts.modules[name].state_dict().items():
            assert torch.equal(state[key], value.half().float())


def test_weights_that_are_none_are_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        recipe.recipe(init=tmp_path / "x.safetensors")


@pytest.mark.slow
def test_the_command_makes_the_real_parts(tmp_path, capsys):
    out = tmp_path / "run"
    sets = [f"{stage}.batch_size=2" for stage in ("codec", "text", "pictures", "video", "words")]
    options = [word for text in [*sets, "curated-0.batch_size=2"] for word in ("--set", text)]
    code = shell.run(app, ["train", "movie-gen-video", "--out", str(out), "--max-steps", "1", *options])
    assert code == 0, capsys.readouterr().err
    parts = load_parts(out / "final" / "model.safetensors")
    assert parts.text.tokenizer.get_vocab_size() == parts.text.config.vocabulary_size
    assert MovieGenVideo(parts).max_size == (16, 64, 64)
