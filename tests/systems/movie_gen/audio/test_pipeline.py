"""What a user calls: lengths, seeds, what stays as it was, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.media import Sound, Video
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio, blend
from tests.systems.movie_gen.audio.conftest import HOP, RATE

FEW = {"steps": 1}


@pytest.fixture
def maker(parts):
    return MovieGenAudio(parts, precision="fp32")


def a_video(frames=8, fps=16.0, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    return Video(pixels, fps)


def a_sound(seconds, rate=RATE, seed=0):
    """Steps as long as the toy codec's pieces, so that it loses nothing."""
    values = np.random.default_rng(seed).uniform(-0.3, 0.3, (1, round(seconds * 200)))
    return Sound(np.repeat(values, rate // 200, axis=1).astype(np.float32), rate)


def test_sound_lasts_as_long_as_the_clip_and_depends_on_it(maker):
    video = a_video(11)  # 0.6875 s: no whole number of latent frames
    sound = maker.sound_for(video, "metal impacts", seed=3, **FEW)
    assert sound.rate == RATE
    assert sound.samples.shape == (1, 11000)
    again = maker.sound_for(video, "metal impacts", seed=3, **FEW)
    assert np.array_equal(sound.samples, again.samples)
    for other in (
        maker.sound_for(a_video(11, seed=1), "metal impacts", seed=3, **FEW),
        maker.sound_for(video, "waves", seed=3, **FEW),
        maker.sound_for(video, "metal impacts", seed=4, **FEW),
        maker.generate(["metal impacts"], seconds=video.seconds, seeds=[3], **FEW)[0],
        maker.sound_for(video, "metal impacts", seed=3, quality=4.0, **FEW),
        maker.sound_for(video, "metal impacts", seed=3, music="a calm flute", **FEW),
    ):
        assert not np.array_equal(sound.samples, other.samples)


def test_a_batch_is_what_its_sounds_are_alone(maker):
    video = a_video()
    both = maker.generate(["waves", ""], seconds=0.5, seeds=[1, 2], videos=[None, video], **FEW)
    alone = maker.generate([""], seconds=0.5, seeds=[2], videos=[video], **FEW)
    np.testing.assert_allclose(both[1].samples, alone[0].samples, atol=1e-5)
    assert maker.generate([], seconds=1.0, seeds=[]) == []


@pytest.mark.parametrize("long_form", ["windows", "segments"])
def test_long_sound_is_made_either_way(maker, long_form):
    assert maker.reach == pytest.approx(0.8)
    sound = maker.generate(["waves"], seconds=2.1, seeds=[0], long_form=long_form, **FEW)[0]
    assert sound.samples.shape == (1, round(2.1 * RATE))
    assert np.abs(sound.samples[:, -HOP:]).max() > 0


def one_hot(best):
    return lambda sounds, video, prompt: [float(k == best) for k in range(len(sounds))]


def test_the_best_of_several_candidates_is_kept(maker):
    asked = []

    def loudest(sounds, video, prompt):
        asked.append((len(sounds), video, prompt))
        return [float(np.square(sound.samples).mean()) for sound in sounds]

    chosen = maker.generate(["waves"], seconds=0.4, seeds=[5], candidates=3, score=loudest, **FEW)[0]
    single = maker.generate(["waves"], seconds=0.4, seeds=[5], **FEW)[0]
    assert asked == [(3, None, "waves")]
    assert np.square(chosen.samples).mean() >= np.square(single.samples).mean()
    first = maker.generate(
        ["waves"], seconds=0.4, seeds=[5], candidates=2, score=lambda sounds, v, p: [1.0, 0.0], **FEW
    )[0]
    assert np.array_equal(first.samples, single.samples)
    ranked = maker.generate(["waves"], seconds=0.4, seeds=[5], candidates=3, **FEW)[0]  # by the judge
    made = [
        maker.generate(["waves"], seconds=0.4, seeds=[5], candidates=3, score=one_hot(k), **FEW)[0]
        for k in range(3)
    ]
    assert sum(np.array_equal(ranked.samples, sound.samples) for sound in made) == 1


def test_the_steps_of_the_solver_are_reported(maker):
    seen = []
    maker.generate(
        [""], seconds=0.4, seeds=[0], steps=3, on_step=lambda done, x: seen.append((done, x.shape))
    )
    assert [done for done, _ in seen] == [1, 2, 3]
    assert seen[0][1] == (1, 8, 10)


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.5), (0.0, 0.3), (0.61, 1.0), (0.9, 2.1)])
def test_infilling_changes_the_gap_alone(maker, start, end):
    given = a_sound(max(1.0, end + 0.5))
    filled = maker.infill(given, start, end, prompt="waves", **FEW)
    assert filled.samples.shape == given.samples.shape
    first, last = round(start * RATE), round(end * RATE)
    change = np.abs(filled.samples - given.samples)[0]
    assert change[first:last].mean() > 0.01
    assert change[: max(first - HOP, 0)].sum() == 0
    assert change[last + HOP :].sum() == 0
    again = maker.infill(given, start, end, prompt="waves", seed=1, **FEW)
    assert not np.array_equal(again.samples, filled.samples)


def test_infilling_hears_what_is_around(maker):
    one, other = a_sound(0.8), a_sound(0.8, seed=1)
    gap = slice(round(0.3 * RATE), round(0.5 * RATE))
    made = [maker.infill(sound, 0.3, 0.5, **FEW).samples[:, gap] for sound in (one, other)]
    assert np.abs(made[0] - made[1]).mean() > 1e-3


@pytest.mark.parametrize("seconds", [0.3, 1.7])
def test_extension_keeps_what_is_there(maker, seconds):
    given, more = a_sound(0.5), round(seconds * RATE)
    longer = maker.extend(given, seconds, prompt="waves", video=a_video(40), **FEW)
    kept = given.samples.shape[1]
    assert longer.samples.shape == (1, kept + more)
    assert np.array_equal(longer.samples[:, : kept - 2 * HOP], given.samples[:, : -2 * HOP])
    assert np.abs(longer.samples[:, kept:]).mean() > 1e-3
    before = maker.extend(given, seconds, direction="backward", prompt="waves", **FEW)
    assert before.samples.shape == (1, kept + more)
    assert np.array_equal(before.samples[:, more + HOP :], given.samples[:, HOP:])
    assert np.abs(before.samples[:, :more]).mean() > 1e-3


def test_other_rates_and_stereo_are_brought_to_the_codec_s(maker):
    mono = a_sound(0.4, rate=48000)
    stereo = Sound(np.concatenate([mono.samples, mono.samples]), 48000)
    sound = maker.round_trip(stereo)
    assert (sound.rate, sound.samples.shape) == (RATE, (1, 6400))
    assert np.abs(sound.samples).max() > 0.05
    assert np.abs(maker.round_trip(a_sound(0.4)).samples - a_sound(0.4).samples).max() < 1e-5


def test_stereo_stays_stereo_around_what_is_made(maker):
    left, right = a_sound(1.0), a_sound(1.0, seed=1)
    given = Sound(np.concatenate([left.samples, right.samples]), RATE)
    filled = maker.infill(given, 0.4, 0.6, **FEW)
    longer = maker.extend(given, 0.4, **FEW)
    before = maker.extend(given, 0.4, direction="backward", **FEW)
    first, last, more = round(0.4 * RATE), round(0.6 * RATE), round(0.4 * RATE)
    assert np.array_equal(filled.samples[:, : first - HOP], given.samples[:, : first - HOP])
    assert np.array_equal(filled.samples[:, last + HOP :], given.samples[:, last + HOP :])
    np.testing.assert_allclose(filled.samples[0, first:last], filled.samples[1, first:last], atol=1e-6)
    assert np.array_equal(longer.samples[:, : RATE - 2 * HOP], given.samples[:, : -2 * HOP])
    assert np.array_equal(before.samples[:, more + HOP :], given.samples[:, HOP:])
    surround = Sound(np.repeat(left.samples, 6, axis=0), RATE)
    assert maker.infill(surround, 0.4, 0.6, **FEW).samples.shape[0] == 1


def test_music_alone_is_what_is_heard(maker):
    assert 'a description: "a calm harp"' in maker.caption("", "a calm harp.")
    assert 'a music description: "a calm harp"' in maker.caption("waves", "a calm harp")
    assert "description" not in maker.caption("")


def test_a_blend_fades_outside_the_made_part():
    mixed = blend(torch.zeros(1, 1, 10), torch.ones(1, 1, 10), 4, 6, 2)[0, 0]
    torch.testing.assert_close(mixed, torch.tensor([0, 0, 0, 0.5, 1, 1, 0.5, 0, 0, 0]))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompts": "waves"}, "list of texts"),
        ({"prompts": ["a man speaks"]}, "no speech and no song"),
        ({"music": "a pop song"}, "no speech and no song"),
        ({"seeds": [1, 2]}, "one seed a prompt"),
        ({"seeds": [-1]}, "whole number"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": 1e6}, "seconds"),
        ({"steps": 0}, "steps"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"quality": 12.0}, "quality"),
        ({"long_form": "loop"}, "long_form"),
        ({"candidates": 0}, "candidates"),
        ({"videos": []}, "give one each"),
    ],
)
def test_what_cannot_be_made_is_refused(maker, asked, said):
    request = {"prompts": ["waves"], "seconds": 0.4, "seeds": [0], **asked}
    prompts = request.pop("prompts")
    with pytest.raises(UserError, match=said):
        maker.generate(prompts, **request)


def test_gaps_and_directions_that_cannot_be_are_refused(maker):
    with pytest.raises(UserError, match="gap runs"):
        maker.infill(a_sound(0.5), 0.4, 0.3)
    with pytest.raises(UserError, match="gap runs"):
        maker.infill(a_sound(0.5), 0.1, 0.9)
    with pytest.raises(UserError, match="direction"):
        maker.extend(a_sound(0.5), 0.5, direction="up")
    with pytest.raises(UserError, match="at least one frame"):
        maker.extend(a_sound(0.02), 0.5)
