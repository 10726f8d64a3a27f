"""Frames from all over a clip, however long it is."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.media import Video
from kinema.media.sampling import sample_frames


def counted(frames: int) -> np.ndarray:
    """Grey frames, brighter from one to the next."""
    grey = np.linspace(0, 250, frames).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (frames, 16, 16, 3)).copy()


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_short_clip_comes_whole_and_a_long_one_evenly(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    Video(counted(100), 25.0).write(path)
    whole = sample_frames(path)
    assert whole.frames.shape == (100, 16, 16, 3)
    assert whole.fps == pytest.approx(25, rel=0.02)
    some = sample_frames(path, most=10)
    assert len(some.frames) == 10
    assert some.fps == pytest.approx(2.5, rel=0.02)
    assert np.abs(some.frames[:, 8, 8, 0] - np.linspace(12, 238, 10)).max() < 12


def test_frames_are_made_smaller_and_a_clip_of_one_frame_is_taken(tmp_path):
    Video(np.zeros((3, 64, 32, 3), np.uint8), 10.0).write(tmp_path / "a.mp4")
    small = sample_frames(tmp_path / "a.mp4", max_side=16)
    assert small.frames.shape == (3, 16, 8, 3)
    Video(np.zeros((1, 16, 16, 3), np.uint8), 10.0).write(tmp_path / "b.mp4")
    assert len(sample_frames(tmp_path / "b.mp4").frames) == 1


def test_what_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    Video(counted(50), 25.0).write(path)
    (tmp_path / "half.mp4").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="cut off"):
        sample_frames(tmp_path / "half.mp4")
    with pytest.raises(UserError, match="at least 1"):
        sample_frames(path, most=0)
