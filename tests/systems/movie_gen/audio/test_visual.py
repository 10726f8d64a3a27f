"""Frames by time: which one is shown when, that pieces do not show, and what the encoder is trained to tell."""

from __future__ import annotations

import math

import pytest
import torch

from kinema.systems.movie_gen.audio import visual
from kinema.systems.movie_gen.audio.visual import FrameNet, FrameNetConfig, ImageTower, on_grid, shown_frames
from kinema.systems.movie_gen.audio.visual_recipe import (
    FRAMES,
    RATES,
    SeeingFrames,
    clip_batch,
    frame_loss,
    frame_truth,
)
from kinema.world.scene import WorldSpec, sample_scene
from kinema.world.sound.events import onsets

SMALL = FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12)


@pytest.mark.parametrize("fps", [8.0, 12.0, 16.0, 24.0, 25.0, 29.97, 30.0, 60.0])
def test_at_each_latent_frame_the_frame_shown_then_is_taken(fps):
    frames = round(2 * fps)
    numbers, seen = shown_frames(frames, fps, 60)
    for i, (number, there) in enumerate(zip(numbers.tolist(), seen.tolist(), strict=True)):
        time = i / 25
        assert there == (time < frames / fps - 1e-9)
        if there:
            assert number / fps <= time + 1e-6
            assert time < (number + 1) / fps + 1e-6


def test_sixteen_frames_a_second_are_not_twenty_five():
    assert shown_frames(16, 16.0, 6)[0].tolist() == [0, 0, 1, 1, 2, 3]
    assert shown_frames(25, 25.0, 25)[0].tolist() == list(range(25))


def test_beyond_the_video_there_is_nothing():
    features, seen = on_grid(torch.ones(8, 3), 8.0, 50)
    assert int(seen.sum()) == 25
    assert not features[25:].any()
    assert features[:25].all()


def test_age_tells_for_how_long_a_frame_has_been_shown():
    grid, seen = on_grid(torch.ones(10, 3), 8.0, 40, age=True)
    assert grid.shape == (40, 4)
    for i in range(31):
        shown = i / 25 - math.floor(i / 25 * 8 + 1e-6) / 8  # seconds
        assert float(grid[i, 3]) == pytest.approx(shown * 25 - 0.5, abs=1e-5)
    assert bool(seen[:32].all())
    assert not grid[32:].any()


def test_long_videos_are_encoded_in_pieces_that_do_not_show(monkeypatch):
    torch.manual_seed(0)
    net, frames = FrameNet(SMALL), torch.randint(0, 256, (23, 32, 32, 3), dtype=torch.uint8)
    whole = net.encode(frames, 12.0)
    assert whole.shape == (23, 12)
    for size in (5, 1, 22):
        monkeypatch.setattr(visual, "FRAMES_AT_ONCE", size)
        torch.testing.assert_close(net.encode(frames, 12.0), whole, atol=1e-5, rtol=1e-4)


def test_the_encoder_sees_change_and_rate_and_any_size():
    torch.manual_seed(0)
    net = FrameNet(SMALL)
    still = torch.full((4, 32, 32, 3), 90, dtype=torch.uint8)
    moving = still.clone()
    moving[2] = 200
    assert not torch.allclose(net.encode(still, 8.0)[1], net.encode(moving, 8.0)[1])  # what is to come
    torch.testing.assert_close(net.encode(still, 8.0)[0], net.encode(moving, 8.0)[0])
    assert not torch.allclose(net.encode(still, 8.0), net.encode(still, 25.0))
    assert net.encode(torch.zeros(2, 48, 80, 3, dtype=torch.uint8), 8.0).shape == (2, 12)


def test_an_image_tower_gets_normalised_pictures_of_its_size():
    seen = []

    def tower(pictures):
        seen.append(pictures)
        return pictures.mean((2, 3)).repeat(1, 4)[:, :10]

    wrapped = ImageTower(tower, dim=10, size=20, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    frames = torch.full((70, 30, 40, 3), 255, dtype=torch.uint8)
    assert wrapped.encode(frames, 16.0).shape == (70, 10)
    assert [tuple(part.shape) for part in seen] == [(64, 3, 20, 20), (6, 3, 20, 20)]
    torch.testing.assert_close(seen[0], torch.full((64, 3, 20, 20), 2.0))


def test_nano_s_encoder_is_small():
    assert sum(p.numel() for p in FrameNet().parameters()) < 0.3e6


def test_the_truth_of_frames_is_when_they_strike():
    spec = WorldSpec(vocabulary="nano")
    scene = next(
        s for s in (sample_scene("train", i, spec) for i in range(99)) if len(onsets(s, ("impact",))) > 1
    )
    times = [k / 8 for k in range(16)]
    struck, when, speed = frame_truth(scene, times, 8.0)
    for event in onsets(scene, ("impact",)):
        assert struck[int(event.time * 8)] == 1.0
        nearest = min(range(16), key=lambda k: abs(times[k] - event.time))
        assert when[nearest] == pytest.approx(event.time - times[nearest])
    assert sum(struck) <= len(onsets(scene, ("impact",)))
    assert min(speed) >= 0


def test_batches_are_pure_and_a_few_steps_lower_the_loss():
    batch, again = clip_batch(range(8)), clip_batch(range(8))
    assert torch.equal(batch.frames, again.frames)
    assert batch.frames.shape == (8, FRAMES, 3, 64, 64)
    assert set(batch.fps.tolist()) == set(RATES)
    torch.testing.assert_close(clip_batch(range(4, 8)).frames, batch.frames[4:])
    torch.manual_seed(0)
    seeing = SeeingFrames(FrameNet(FrameNetConfig(widths=(8, 8, 8, 8), squeezed=8, dim=16)))
    optimizer, losses = torch.optim.Adam(seeing.parameters(), lr=1e-2), []
    for _ in range(6):
        loss, logs = frame_loss(seeing, batch, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert {"struck_f1", "material_accuracy", "impact_error_ms"} <= set(logs)
