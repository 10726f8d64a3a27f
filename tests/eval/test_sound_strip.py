"""The picture of a clip over its sounds: marks stand at their times, loud places are bright, refusals are clear."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.eval.sound_strip import MARK, PAPER, Track, sound_strip
from kinema.media import Sound, Video

FRAMES = Video(np.full((16, 20, 20, 3), 200, dtype=np.uint8), 8.0)


def click(time: float, seconds: float = 2.0, rate: int = 16000) -> Sound:
    samples = np.zeros((1, round(seconds * rate)), dtype=np.float32)
    samples[0, round(time * rate) : round(time * rate) + 40] = 0.5
    return Sound(samples, rate)


def test_marks_and_clicks_stand_at_their_times() -> None:
    picture = sound_strip(
        FRAMES, [Track("a", click(0.5), [0.5, 9.0]), Track("b", click(1.5))], frame_height=48
    ).pixels
    assert picture.shape[2] == 3
    paper = (picture == np.array(PAPER)).all(2)
    columns = np.flatnonzero(~paper.all(0))
    left, right = columns[0], columns[-1]
    white = (picture == np.array(MARK)).all(2).any(0)
    place = np.flatnonzero(white).mean()
    assert (place - left) / (right - left) == pytest.approx(0.25, abs=0.02)
    strip, tracks = 48, 2
    assert len(picture) > (1 + tracks) * strip
    second = (
        picture[round(0.72 * len(picture)), left : right + 1].astype(int).sum(1)
    )  # a row of the lower spectrum
    assert np.argmax(second) / (right - left) == pytest.approx(0.75, abs=0.06)


def test_a_frame_stands_where_its_time_is_on_the_spectrum() -> None:
    frames = np.zeros((16, 20, 20, 3), dtype=np.uint8)
    frames[4] = 255  # shown from 0.5 to 0.625 s
    picture = sound_strip(Video(frames, 8.0), [Track("a", click(0.5))], frames=16, frame_height=24).pixels
    columns = np.flatnonzero(~(picture == np.array(PAPER)).all((0, 2)))
    strip = picture[30].astype(int).sum(1)
    white = [c for c in columns if strip[c] == 3 * 255]
    assert (np.mean(white) - columns[0]) / (columns[-1] - columns[0]) == pytest.approx(4.5 / 16, abs=0.02)


def test_a_short_sound_and_no_track() -> None:
    assert sound_strip(FRAMES, [Track("short", click(0.0, 0.05))]).pixels.size > 0
    with pytest.raises(UserError, match="no sound to draw"):
        sound_strip(FRAMES, [])
