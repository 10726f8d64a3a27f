"""The weights that travel with the package: small enough, whole, and their sound follows the picture and the seed."""

from __future__ import annotations

import numpy as np
import pytest

import kinema
from kinema import hub
from kinema.eval.movie_gen_audio import evaluate, true_video
from kinema.eval.movie_gen_video import held_out_scenes
from kinema.systems.movie_gen.audio.parts import load_parts
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio

LIMIT = 8_000_000  # bytes, the codec included


@pytest.fixture(scope="module")
def nano() -> MovieGenAudio:
    return kinema.load("movie-gen-audio-nano")


def test_weights_are_within_their_share() -> None:
    assert hub.find("movie-gen-audio").nano_path.stat().st_size <= LIMIT


def test_every_parameter_is_there_and_finite() -> None:
    parts = load_parts(hub.find("movie-gen-audio-nano").nano_path)
    for module in parts.modules.values():
        assert all(bool(p.isfinite().all()) for p in module.state_dict().values())


def test_a_seed_makes_the_same_sound_and_another_seed_another(nano: MovieGenAudio) -> None:
    video = true_video(held_out_scenes("val", 1, 7)[0])
    first, again, other = (nano.sound_for(video, seed=s, steps=4).samples for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (1, round(48000 * video.seconds))


def test_sound_is_in_step_with_its_own_clip_and_not_with_another(nano: MovieGenAudio) -> None:
    heard = evaluate(nano, num_prompts=24, seed=11, steps=8, arms=("video",))["arms"]
    own, shuffled = heard["video"], heard["shuffled"]
    assert own["impacts"]["f1"] > shuffled["impacts"]["f1"] + 0.15
    assert own["bed"]["share"] > shuffled["bed"]["share"] + 0.2
    assert heard["true"]["impacts"]["f1"] > 0.9


def test_the_words_decide_where_there_is_no_picture(nano: MovieGenAudio) -> None:
    levels = []
    for words in ("wind over snow", "waves on a beach"):
        (sound,) = nano.generate([words], seconds=2.0, seeds=[3])
        levels.append(np.abs(np.fft.rfft(sound.samples[0]))[: 2 * 2000].mean())
    assert not np.isclose(*levels, rtol=0.05)


def test_the_codec_keeps_what_is_loud(nano: MovieGenAudio) -> None:
    sound = true_video(held_out_scenes("val", 1, 7)[0]).sound
    assert sound is not None
    back = nano.round_trip(sound).samples[0]
    pieces = [x[: len(back) // 1920 * 1920].reshape(-1, 1920) for x in (sound.samples.mean(0), back)]
    loud = [np.log10(np.square(x).mean(1) + 1e-8) for x in pieces]
    assert np.corrcoef(*loud)[0, 1] > 0.8
