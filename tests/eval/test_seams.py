"""Seams and drift of long clips: joins are found, what is whole is not, and the report holds both beside the clips."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
import torch

from kinema.errors import UserError
from kinema.eval.movie_gen_video import held_out_scenes
from kinema.eval.seams import STEADY, changes, evaluate_long, halfway, seam, table, window_borders
from kinema.media import Video
from kinema.world.captions import canonical_caption
from kinema.world.renderer import render


def test_borders_lie_where_windows_begin_and_end():
    assert window_borders(64, 16, 8) == [8, 16, 24, 32, 40, 48, 56]
    assert window_borders(64, 16, 0) == [16, 32, 48]
    assert window_borders(16, 16, 8) == []
    assert halfway([16, 32, 48], 64) == [8, 24, 40, 56]


def test_changes_by_hand():
    clip = torch.tensor([0.0, 1, 2, 5]).view(1, 1, 4, 1, 1).expand(2, 3, 4, 5, 6)
    assert changes(clip)[0].tolist() == [0, 1, 1, 3]
    assert changes(clip, order=2)[0].tolist() == [0, 0, 0, 2]
    with pytest.raises(UserError, match="order 3"):
        changes(clip, order=3)


def walks(clips: int, frames: int, jump: float = 0.0, turn: bool = False) -> torch.Tensor:
    """Pictures that brighten evenly, with noise; at the middle they jump, or turn back."""
    generator = torch.Generator().manual_seed(0)
    steps = 0.1 + 0.02 * torch.rand(clips, frames, generator=generator)
    if turn:
        steps[:, frames // 2 :] *= -1
    steps[:, frames // 2] += jump
    return steps.cumsum(1).view(clips, 1, frames, 1, 1).expand(-1, 3, -1, 4, 4)


def test_a_jump_is_a_seam_and_a_walk_is_none():
    whole = seam(walks(12, 32), [16])
    assert not whole.found
    assert whole.low < 1 < whole.high
    cut = seam(walks(12, 32, jump=0.1), [16])
    assert cut.found
    assert 1.7 < cut.low < cut.ratio < cut.high < 2.2


def test_a_turn_is_a_break_of_movement_only():
    assert not seam(walks(12, 32, turn=True), [16]).found
    assert seam(walks(12, 32, turn=True), [16], order=2).ratio > 4


def test_a_seam_needs_clips_and_borders():
    with pytest.raises(UserError, match="at least 2, 1, 1"):
        seam(walks(12, 32), [])
    with pytest.raises(UserError, match="1 clips"):
        seam(walks(1, 32), [16])


@dataclass
class Clip:
    video: Video


class Camera:
    """Films the scene behind each prompt. `whole`: a long clip is one scene; else pieces of several, joined."""

    max_size = (16, 64, 64)

    def __init__(self, count: int, whole: bool) -> None:
        scenes = held_out_scenes("val", count)
        self.scenes, self.whole = {canonical_caption(scene): scene for scene in scenes}, whole

    def generate(self, prompts, *, seeds, num_frames, **settings):
        clips = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            scene = self.scenes[prompt]
            if self.whole:
                scene = replace(scene, duration=num_frames / 8)
                frames = render([scene], num_frames=num_frames)[0]
            else:
                others = list(self.scenes.values())
                first = others.index(scene) + seed
                parts = [others[(first + i) % len(others)] for i in range(num_frames // 16)]
                frames = render(parts).transpose(0, 1).flatten(1, 2)
            clips.append(Clip(Video(frames.permute(1, 2, 3, 0).contiguous().numpy(), fps=8.0)))
        return clips


def test_true_clips_hold_together_and_joined_ones_do_not():
    count, done = 6, []
    report = evaluate_long(Camera(count, whole=True), count, progress=lambda *p: done.append(p), times=3)
    assert done[-1] == (4 * count, 4 * count)
    cases = report["cases"]
    assert list(cases) == ["long", "true", "joined", "strangers"]
    for name in ("long", "true"):
        assert not cases[name]["change"]["found"]
        assert min(cases[name]["drift"][a]["same_as_before"] for a in STEADY) > 0.8
    assert cases["strangers"]["change"]["found"]
    assert cases["strangers"]["drift"]["identity"]["same_as_before"] < 0.3
    assert json.loads(json.dumps(report)) == report
    assert table(report).count("\n") == 5
    pieces = evaluate_long(Camera(count, whole=False), count, times=3)["cases"]["long"]
    assert pieces["change"]["found"]
    assert pieces["drift"]["identity"]["same_as_before"] < 0.5


def test_settings_that_cannot_be_are_explained():
    with pytest.raises(UserError, match="times=1"):
        evaluate_long(Camera(2, whole=True), 2, times=1)
