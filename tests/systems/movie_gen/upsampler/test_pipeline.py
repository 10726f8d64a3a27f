"""Clips in, larger clips out: sizes, seeds, windows, and files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kinema.errors import UserError
from kinema.media import Sound, Video, to_tensor, to_uint8
from kinema.systems.movie_gen.upsampler.finish import Finish
from kinema.systems.movie_gen.upsampler.parts import load_parts, save_parts
from kinema.systems.movie_gen.upsampler.pipeline import MovieGenUpsampler, load, target_size
from kinema.systems.movie_gen.upsampler.recipe import enlarged
from tests.systems.movie_gen.upsampler.conftest import smooth_clips


def clip(frames=3, size=12, **more):
    return Video(to_uint8(smooth_clips(1, frames, size)[0]), 8.0, **more)


@pytest.fixture
def model(parts):
    return MovieGenUpsampler(parts, precision="fp32")


def test_twice_as_large_and_everything_else_stays(model):
    sound = Sound(np.zeros((1, 800), np.float32), 8000)
    made = model.upsample(clip(sound=sound, metadata={"note": 1}), steps=2)
    assert made.frames.shape == (3, 24, 24, 3)
    assert made.frames.dtype == np.uint8
    assert (made.fps, made.sound, made.metadata) == (8.0, sound, {"note": 1})


def test_the_seed_decides(model):
    frames = [model.upsample(clip(), seed=seed, steps=2).frames for seed in (3, 3, 4)]
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], frames[2])


@pytest.mark.parametrize("size", [(23, 31), (12, 40), (13, 13), (30, 50)])
def test_any_size_not_below_the_clips(model, size):
    made = model.upsample(clip(), height=size[0], width=size[1], steps=1)
    assert made.frames.shape[1:3] == size


def test_a_network_that_predicts_the_noise_away_gives_the_enlarged_clip(model, parts):
    """With the velocity -noise the sample ends at zero: what is left is the condition through the codec."""
    torch.nn.init.zeros_(parts.upsampler.transformer.final.out.weight)
    torch.nn.init.zeros_(parts.upsampler.transformer.final.out.bias)
    torch.nn.init.zeros_(parts.finish.convs[-1].weight)
    parts.upsampler.unit.fill_(1e-6)
    video = clip(frames=11, size=30)  # several pieces and windows
    made = torch.from_numpy(model.upsample(video, height=52, width=60, steps=1).frames).int()
    small = to_tensor(video.frames).unsqueeze(0)
    through = parts.codec.decode(parts.codec.encode(enlarged(small, 52, 60)))[0]
    assert (made - torch.from_numpy(to_uint8(through)).int()).abs().max() <= 1


def test_the_finish_starts_as_the_identity_and_sees_both_clips():
    finish = Finish(width=8, depth=2)
    decoded, small = smooth_clips(2, 3, 16), smooth_clips(2, 3, 16, seed=1)
    assert torch.equal(finish(decoded, small), decoded)
    torch.nn.init.normal_(finish.convs[-1].weight)
    made = finish(decoded, small)
    assert not torch.allclose(made, finish(decoded, decoded))
    torch.testing.assert_close(
        finish(decoded[:, :, 1:2], small[:, :, 1:2]), made[:, :, 1:2]
    )  # frame by frame


def test_windows_take_long_clips_and_report_steps(model):
    seen = []
    made = model.upsample(clip(frames=9, size=20), steps=3, on_step=lambda done, x: seen.append(done))
    assert made.frames.shape == (9, 40, 40, 3)
    assert seen == [1, 2, 3]


def test_target_sizes():
    assert target_size((5, 57, 100, 3), None, None) == (114, 200)
    assert target_size((5, 64, 96, 3), 96, None) == (96, 144)
    assert target_size((5, 64, 96, 3), None, 192) == (128, 192)
    with pytest.raises(UserError, match="only makes clips larger"):
        target_size((5, 64, 64, 3), 32, 128)
    with pytest.raises(UserError, match="at most 1024 rows"):
        target_size((5, 600, 64, 3), None, None)
    with pytest.raises(UserError, match="over all frames"):
        target_size((1000, 256, 256, 3), None, None)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 1.5}, {"seed": -1}, {"seed": 0.5}, {"height": 24.5}]
)
def test_settings_that_cannot_be_taken(model, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        model.upsample(clip(), **wrong)


def test_a_file_alone_is_the_model(parts, tmp_path):
    path = tmp_path / "up.safetensors"
    save_parts(parts, path, torch.float32)
    assert parts.upsampler.unit.equal(load_parts(path).upsampler.unit)
    made = [
        m.upsample(clip(), steps=2).frames
        for m in (MovieGenUpsampler(parts, precision="fp32"), load(path, precision="fp32"))
    ]
    assert np.array_equal(*made)


def test_other_files_are_refused(parts, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="is no upsampler of kinema"):
        load_parts(path)
