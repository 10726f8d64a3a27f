"""The Small World as training data: every sample a pure function of its number."""

from __future__ import annotations

import pytest
import torch

from kinema.world import caption, render
from kinema.world.batches import WorldClips
from kinema.world.scene import WorldSpec, sample_scene

SPEC = WorldSpec(vocabulary="nano", fps=(8.0, 12.0))
CLIPS = WorldClips(spec=SPEC, num_frames=4, height=32, width=32)
PICTURES = WorldClips(spec=SPEC, num_frames=1, height=32, width=32)


@pytest.mark.parametrize("clips", [CLIPS, PICTURES], ids=["clips", "pictures"])
def test_a_sample_depends_on_its_number_alone(clips):
    indices = [3, 100_000_007, 0, 5, 3]
    together = clips.pixels(indices)
    assert torch.equal(together[0], together[4])
    for row, index in enumerate(indices):
        assert torch.equal(clips.pixels([index])[0], together[row])


def test_pixels_are_what_the_renderer_draws_at_each_scenes_own_rate():
    indices = list(range(8))
    scenes = CLIPS.scenes(indices)
    assert {scene.fps for scene in scenes} == {8.0, 12.0}
    pixels = CLIPS.pixels(indices)
    assert pixels.shape == (8, 3, 4, 32, 32)
    assert pixels.dtype == torch.float32
    assert pixels.abs().max() <= 1
    assert pixels.std() > 0.1
    for row, scene in enumerate(scenes):
        drawn = render([scene], 4, 32, 32, scene.fps)[0].float() / 127.5 - 1
        assert (pixels[row] - drawn).abs().max() < 1e-6


def test_a_picture_is_one_moment_of_its_scene():
    indices = list(range(40))
    pictures = PICTURES.pixels(indices)
    assert pictures.shape == (40, 3, 1, 32, 32)
    first = WorldClips(spec=SPEC, num_frames=2, height=32, width=32).pixels(indices)[:, :, :1]
    moved = [(a - b).abs().max() > 0.1 for a, b in zip(pictures, first, strict=True)]
    assert sum(moved) > 20  # the moment is drawn from the whole scene, not its beginning


def test_splits_and_captions():
    assert CLIPS.captions([4, 9]) == [caption(sample_scene("train", index, SPEC)) for index in (4, 9)]
    held_out = WorldClips(spec=SPEC, split="val", num_frames=4, height=32, width=32)
    assert not torch.equal(held_out.pixels([4]), CLIPS.pixels([4]))
    assert held_out.scenes([4])[0].split == "val"


def test_a_narrow_frame_holds_all_that_a_square_one_would():
    whole = WorldClips(spec=SPEC, num_frames=2, height=64, width=64).pixels(range(12))
    for height, width in ((64, 32), (64, 48), (48, 64), (32, 64)):
        narrow = WorldClips(spec=SPEC, num_frames=2, height=height, width=width).pixels(range(12))
        side = min(height, width)
        rows, columns = (height - side) // 2, (width - side) // 2
        middle = narrow[..., rows : rows + side, columns : columns + side].flatten(0, 1)
        small = torch.nn.functional.interpolate(whole.flatten(0, 1), size=(side, side), mode="area")
        difference = (middle - small).abs().mean()
        assert difference < 0.5 * (middle - small.roll(1, 0)).abs().mean() / 2


def test_no_samples_are_an_empty_batch():
    assert CLIPS.pixels([]).shape == (0, 3, 4, 32, 32)
