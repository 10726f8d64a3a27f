"""Words in, clips out: repeatable, independent of the batch, honest about what it cannot do, nothing done twice."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.flow.schedules import linear_quadratic
from kinema.flow.solvers import euler
from kinema.systems.movie_gen.video import pipeline as pipeline_module
from kinema.systems.movie_gen.video.parts import save_parts
from kinema.systems.movie_gen.video.pipeline import MovieGenVideo, load
from kinema.text.states import TextStates

PROMPTS = ["a red fox bounces to the right", "a balloon", "a cat in a meadow"]


@pytest.fixture
def model(parts):
    return MovieGenVideo(parts, precision="fp32")


def frames(model, prompts=PROMPTS[:1], seeds=(7,), **settings):
    made = model.generate(prompts, seeds=seeds, **{"steps": 4, **settings})
    return [clip.video.frames for clip in made]


def test_a_clip_has_the_largest_size_unless_another_is_asked_for(model):
    assert model.max_size == (8, 16, 16)
    (clip,) = model.generate(["a fox"], seeds=[1], steps=2)
    assert clip.video.frames.shape == (8, 16, 16, 3)
    assert clip.video.frames.dtype == np.uint8
    assert clip.video.fps == 8.0
    assert (clip.prompt_used, clip.notices) == ("FPS-8: a fox", ())
    assert len(np.unique(clip.video.frames)) > 20  # no grey field


@pytest.mark.parametrize("size", [(1, 16, 16), (3, 8, 16), (7, 16, 8), (8, 8, 8)])
def test_smaller_clips_and_pictures(model, size):
    count, height, width = size
    (made,) = frames(model, num_frames=count, height=height, width=width, steps=2)
    assert made.shape == (*size, 3)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(model, make_parts):
    (first,) = frames(model)
    assert np.array_equal(frames(model)[0], first)
    assert np.array_equal(frames(MovieGenVideo(make_parts(), precision="fp32"))[0], first)
    assert not np.array_equal(frames(model, seeds=(8,))[0], first)
    assert not np.array_equal(frames(model, prompts=["a balloon"])[0], first)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_clip_alone_equals_the_clip_in_a_batch(model, scale):
    together = frames(model, PROMPTS, (7, 8, 9), guidance_scale=scale)
    for prompt, seed, clip in zip(PROMPTS, (7, 8, 9), together, strict=True):
        (alone,) = frames(model, [prompt], (seed,), guidance_scale=scale)
        assert np.abs(alone.astype(int) - clip.astype(int)).max() <= 1  # a level of 255, from float rounding


def test_no_prompts_give_no_clips(model):
    assert model.generate([], seeds=[]) == []


def noise(batch, shape=(4, 4, 4, 4)):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(3))


def test_guidance_of_one_is_the_conditional_path(model):
    start, states = noise(2), model.parts.text.encode(PROMPTS[:2])
    with torch.no_grad():
        expected = euler(lambda x, t: model.parts.transformer(x, t, states), start, linear_quadratic(6, 250))
        without = model.sample(PROMPTS[:2], start, 6, 1.0)
        nearly = model.sample(PROMPTS[:2], start, 6, 1.0 + 1e-9, negative_text="a cat")
    assert (without - expected).abs().max() < 1e-5
    assert (nearly - expected).abs().max() < 1e-4


def test_a_clip_longer_than_the_model_reaches_is_made_in_windows(model, monkeypatch):
    lengths = []
    forward = model.parts.transformer.forward
    monkeypatch.setattr(
        model.parts.transformer, "forward", lambda x, t, c: lengths.append(x.shape[2]) or forward(x, t, c)
    )
    (made,) = frames(model, num_frames=20, steps=2)
    assert made.shape == (20, 16, 16, 3)
    assert lengths == [4] * 7 * 2  # ten latent frames: windows from 0, 1, ... 6, in two steps


def test_half_precision_products_leave_the_latent_where_it_was(model):
    start = noise(2)
    half = MovieGenVideo(model.parts, precision="bf16").sample(PROMPTS[:2], start, 5, 3.0)
    full = model.sample(PROMPTS[:2], start, 5, 3.0)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.03 * full.abs().mean()


def test_guidance_is_the_line_through_both_velocities(model):
    start, scale = noise(2), 3.0
    model_, encoder = model.parts.transformer, model.parts.text
    with torch.no_grad():
        said, unsaid = encoder.encode(PROMPTS[:2]), encoder.encode(["a cat"] * 2)

        def velocity(x, t):
            conditional, unconditional = model_(x, t, said), model_(x, t, unsaid)
            return unconditional + scale * (conditional - unconditional)

        expected = euler(velocity, start, linear_quadratic(5, 250))
        made = model.sample(PROMPTS[:2], start, 5, scale, negative_text="a cat")
    assert (made - expected).abs().max() < 1e-4
    assert (
        made - model.sample(PROMPTS[:2], start, 5, scale)
    ).abs().max() > 1e-3  # the negative prompt counts


@pytest.mark.parametrize(("scale", "encoded", "width"), [(1.0, 1, 2), (4.0, 2, 4)])
def test_conditions_are_computed_once(model, monkeypatch, scale, encoded, width):
    calls = {"encode": 0, "text": 0, "keys": 0, "batches": []}
    transformer, encoder = model.parts.transformer, model.parts.text
    encode, project, forward = encoder.encode, transformer.encode_text, transformer.forward

    def counted_encode(prompts):
        calls["encode"] += 1
        return encode(prompts)

    def counted_project(text):
        calls["text"] += 1
        return project(text)

    def counted_forward(x, t, condition):
        calls["batches"].append(len(x))
        return forward(x, t, condition)

    monkeypatch.setattr(encoder, "encode", counted_encode)
    monkeypatch.setattr(transformer, "encode_text", counted_project)
    monkeypatch.setattr(transformer, "forward", counted_forward)
    for block in transformer.blocks:
        attend = block.cross_attention.keys_values

        def counted_keys(source, attend=attend):
            calls["keys"] += 1
            return attend(source)

        monkeypatch.setattr(block.cross_attention, "keys_values", counted_keys)
    model.generate(PROMPTS[:2], seeds=[1, 2], steps=6, guidance_scale=scale)
    assert calls == {"encode": encoded, "text": 1, "keys": len(transformer.blocks), "batches": [width] * 6}


def test_steps_are_reported_and_fine_schedules_are_taken(model):
    seen = []
    model.generate(["a"], seeds=[0], steps=5, on_step=lambda done, latent: seen.append((done, latent.shape)))
    assert seen == [(done, (1, 4, 4, 4, 4)) for done in range(1, 6)]
    seen.clear()
    model.generate(
        ["a"], seeds=[0], steps=260, num_frames=1, height=8, width=8, on_step=lambda *step: seen.append(step)
    )
    assert len(seen) == 260  # more than the linear schedule that the default emulates


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seeds": [1, 2]}, "1 prompts and 2 seeds"),
        ({"prompts": "a fox"}, "prompts is one text and must be a list"),
        ({"seeds": [-1]}, "seed is -1 and must be a whole number from 0"),
        ({"seeds": [2**63]}, "must be a whole number from 0"),
        ({"seeds": [1.5]}, "seed is 1.5 and must be a whole number"),
        ({"steps": 1}, "steps is 1 and must lie between 2 and 1000"),
        ({"steps": 1001}, "must lie between 2 and 1000"),
        ({"steps": 2.5}, "steps is 2.5 and must be a whole number"),
        ({"guidance_scale": -0.1}, "guidance_scale is -0.1"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"fps": 0}, "fps is 0 and must lie above 0"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"num_frames": 0}, "0 frames of 16x16"),
        ({"num_frames": 65}, "at most 64 frames of 16x16: ask for less"),
        ({"num_frames": 2.0}, "num_frames is 2.0 and must be a whole number"),
        ({"height": 0}, "8 frames of 0x16"),
        ({"height": 24}, "8 frames of 24x16"),
        ({"height": 9}, "height is 9 and must be a multiple of 8: try 8"),
        ({"width": 15}, "width is 15 and must be a multiple of 8: try 16"),
        ({"width": -8}, "8 frames of 16x-8"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_encoded(model, monkeypatch, settings, sentence):
    def refuse(*_):
        raise AssertionError("the text was encoded although a setting is wrong")

    monkeypatch.setattr(model.parts.text, "encode", refuse)
    given = {"prompts": ["a fox"], "seeds": [1], **settings}
    with pytest.raises(UserError, match=re.escape(sentence)):
        model.generate(given.pop("prompts"), **given)


def test_a_prompt_of_the_world_is_read_first(parts, monkeypatch):
    parts.prompt_style = "world"
    model = MovieGenVideo(parts)
    used, _ = model.read_prompt("a red fox hops at night while the camera pans to the left", 12)
    assert used.startswith("FPS-12, pan left: ")
    assert "fox" in used
    (clip,) = model.generate(["a dragonfly"], seeds=[1], steps=2)
    assert clip.notices  # nano knows no dragonfly, and the user is told
    monkeypatch.setattr(pipeline_module, "understand", None)
    parts.prompt_style = "free"
    assert model.read_prompt("  a red fox hops at night ", 8) == ("FPS-8: a red fox hops at night", ())


def test_a_file_becomes_a_pipeline(model, parts, tmp_path):
    save_parts(parts, tmp_path / "m.safetensors", torch.float32)
    assert np.array_equal(frames(load(tmp_path / "m.safetensors", precision="fp32"))[0], frames(model)[0])


def test_long_and_empty_prompts_are_taken(model):
    assert len(frames(model, ["a fox " * 300, ""], (1, 2), steps=2)) == 2


def test_states_of_unequal_length_keep_to_their_rows(model):
    # Guidance pads the shorter half: the padded state must not speak.
    said = model.parts.text.encode(["a red fox bounces to the right"])
    joined = TextStates.cat([said, model.parts.text.encode([""])])
    x, t = noise(1), torch.full((1,), 0.3)
    with torch.no_grad():
        whole = model.parts.transformer(torch.cat([x, x]), torch.cat([t, t]), joined)
        alone = model.parts.transformer(x, t, model.parts.text.encode([""]))
    assert (whole[1] - alone[0]).abs().max() < 1e-5
