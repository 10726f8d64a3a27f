"""The weights that travel with the package: small enough, whole, and they make what they made before."""

from __future__ import annotations

import numpy as np
import pytest

import kinema
from kinema import hub
from kinema.systems.movie_gen.video.parts import load_parts
from kinema.systems.movie_gen.video.pipeline import MovieGenVideo

LIMIT = 14_000_000  # bytes


@pytest.fixture(scope="module")
def nano() -> MovieGenVideo:
    return kinema.load("movie-gen-video-nano")


def test_weights_are_within_their_share() -> None:
    assert hub.find("movie-gen-video").nano_path.stat().st_size <= LIMIT


def test_every_parameter_is_there_and_finite() -> None:
    parts = load_parts(hub.find("movie-gen-video-nano").nano_path)
    assert parts.prompt_style == "world"
    for module in parts.modules.values():
        assert all(bool(p.isfinite().all()) for p in module.state_dict().values())


def test_a_seed_makes_the_same_clip_and_another_seed_another(nano: MovieGenVideo) -> None:
    first, again, other = (
        nano.generate(["a fox rolls to the left on a beach"], seeds=[s], steps=4)[0].video.frames
        for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (16, 64, 64, 3)


def test_the_sky_follows_the_words(nano: MovieGenVideo) -> None:
    night, snow = nano.generate(
        ["a fox stands still under a night sky", "a fox stands still in the snow"], seeds=[3, 3], steps=8
    )
    assert night.video.frames.mean() + 60 < snow.video.frames.mean()


def test_an_unknown_object_is_said(nano: MovieGenVideo) -> None:
    (clip,) = nano.generate(["a wolf rolls left in the city"], seeds=[0], steps=2)
    assert any("wolf" in notice for notice in clip.notices)
