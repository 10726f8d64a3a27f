import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.world import BACKGROUNDS, MOTIONS, Scene, WorldSpec, atlas, make_actor, sample_scene
from kinema.world.motion import events
from kinema.world.sound import (
    CREATURES,
    MATERIALS,
    SOUND_CLASSES,
    log_mel,
    onsets,
    render_sound,
    sound_caption,
    sound_class,
    sound_events,
)
from kinema.world.sound.beds import BED_SOUNDS, LEVEL, texture
from kinema.world.sound.calls import VOICES
from kinema.world.sound.impacts import BODIES, impact
from kinema.world.sound.signal import partials, stretch, white
from kinema.world.sound.words import BED_PHRASES

RATE = 48000


def scene_of(name: str, motion: str, background: str = "room", seed: int = 3) -> Scene:
    actor = make_actor(atlas.by_name()[name].index, motion, MOTIONS[motion][0], random.Random(seed))
    base = sample_scene("train", 0)
    return replace(
        base, actors=(actor,), background=background, camera="static", camera_amount=0.0, seed=seed
    )


def one_of(**wanted: str) -> str:
    return next(a.name for a in atlas.artworks() if all(getattr(a, k) == v for k, v in wanted.items()))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene("val", k) for k in range(60)]


@pytest.fixture(scope="module")
def sound(scenes: list[Scene]) -> torch.Tensor:
    return render_sound(scenes)


def test_shape_and_levels(sound):
    assert sound.shape == (60, 1, 96000)
    assert sound.dtype == torch.float32
    assert sound.isfinite().all()
    assert sound.abs().max() < 0.9
    assert sound.abs().amax((1, 2)).min() > 0.01  # nothing is silent


def test_a_scene_sounds_the_same_alone_and_in_a_batch(scenes, sound):
    assert torch.equal(render_sound([scenes[7]])[0], sound[7])
    assert torch.equal(render_sound(scenes[5:9])[2], sound[7])


def test_the_seed_decides_the_random_parts(scenes):
    assert not torch.equal(render_sound([scenes[7]]), render_sound([replace(scenes[7], seed=1)]))


def test_clips_begin_and_end_at_rest(sound):
    assert sound[..., :4].abs().max() < 1e-3
    assert sound[..., -4:].abs().max() < 1e-3


def test_noise_is_the_same_on_every_machine():
    assert white(5, 4).tolist() == pytest.approx([0.6100057, 0.6158816, 0.0306511, -0.4283973], abs=1e-6)


def test_events_keep_the_motion_and_add_voices(scenes):
    for scene in scenes:
        heard = sound_events(scene)
        assert [e for e in heard if e.kind in ("impact", "start", "stop")] == list(events(scene))
        assert [e.time for e in heard] == sorted(e.time for e in heard)
        for event in heard:
            actor = scene.actors[event.actor]
            assert 0 <= event.time < scene.duration
            assert (event.kind == "call") <= (actor.family in CREATURES)
            if event.kind in ("impact", "call", "note"):
                assert sound_class(scene, event) in SOUND_CLASSES
        voices = [e.time for e in heard if e.kind in ("call", "note")]
        others = [e.time for e in onsets(scene)]
        assert all(sum(abs(t - o) < 0.2 for o in others) == 1 for t in voices)  # only itself is that near


def test_every_creature_calls():
    for scene in (sample_scene("train", k, WorldSpec(vocabulary="nano")) for k in range(200)):
        if scene.subject.family in CREATURES:
            assert any(e.kind == "call" and e.actor == 0 for e in sound_events(scene))


@pytest.mark.parametrize(
    "name", [one_of(material=m, family=f) for m, f in (("metal", "tool"), ("soft", "fruit"))]
)
@pytest.mark.parametrize("motion", ["fall", "jump"])
def test_impacts_are_heard_when_they_happen(name, motion):
    scene = scene_of(name, motion)
    clip = render_sound([scene])[0, 0]
    for event in events(scene):
        at = round(event.time * RATE)
        if at < 480 or at > len(clip) - 960:
            continue
        before, after = clip[at - 480 : at].square().mean(), clip[at : at + 960].square().mean()
        assert after > 2 * before, f"nothing new is heard at {event.time:.3f} s"


def test_a_call_starts_at_its_event_and_nowhere_else():
    scene = scene_of("fox", "rest", "city")
    clip = render_sound([scene])[0, 0]
    without = render_sound(
        [replace(scene, actors=(replace(scene.subject, artwork=atlas.by_name()["banana"].index),))]
    )
    extra = (clip - without[0, 0]).abs()
    first = sound_events(scene)[0].time
    assert extra[: round(first * RATE)].max() < 1e-6
    assert extra[round(first * RATE) :][: round(0.03 * RATE)].max() > 0.02


def test_a_bed_lies_far_below_the_events():
    for background in BACKGROUNDS:
        bed = render_sound([scene_of("banana", "rest", background)])
        level = 20 * math.log10(float(bed.square().mean().sqrt()))
        assert -44 < level < -34, f"{background} lies at {level:.1f} dB"
    assert float(np.sqrt(np.mean(texture("beach", RATE) ** 2))) == pytest.approx(LEVEL, rel=1e-4)


def nearest(profiles: torch.Tensor, wanted: int) -> float:
    """How far (dB, mean over bands) a spectrum lies from the nearest other one."""
    distance = (profiles - profiles[wanted]).abs().mean(1)
    distance[wanted] = math.inf
    return float(distance.min())


def test_backgrounds_differ_in_spectrum():
    profiles = log_mel(render_sound([scene_of("banana", "rest", b) for b in BACKGROUNDS]), RATE).mean(2)
    for k, background in enumerate(BACKGROUNDS):
        assert nearest(profiles, k) > 4, background


def test_materials_differ_more_than_objects_of_one_material():
    def picture(name: str) -> torch.Tensor:
        strike = impact(scene_of(name, "fall").subject, RATE)
        clip = torch.zeros(1, 1, RATE // 2)
        clip[0, 0, : len(strike)] = torch.from_numpy(strike[: RATE // 2])
        return log_mel(clip, RATE)[0].flatten()

    names = {m: [a.name for a in atlas.artworks() if a.material == m][:6] for m in MATERIALS}
    pictures = {m: torch.stack([picture(n) for n in names[m]]) for m in MATERIALS}
    centres = torch.stack([pictures[m].mean(0) for m in MATERIALS])
    for k, material in enumerate(MATERIALS):
        distance = torch.cdist(pictures[material], centres)
        assert (distance.argmin(1) == k).all(), material


def test_individuals_have_their_own_voices():
    clips = render_sound([scene_of(n, "rest", "desert") for n in ("fox", "lion")])
    profile = log_mel(clips, RATE).amax(2)
    assert (profile[0] - profile[1]).abs().mean() > 1.5


def test_every_name_has_a_sound_and_words():
    assert set(BODIES) == set(MATERIALS) == {a.material for a in atlas.artworks()}
    assert set(VOICES) == set(CREATURES)
    assert set(BED_SOUNDS) == set(BED_PHRASES) == set(BACKGROUNDS)


@pytest.mark.parametrize("motion", sorted(MOTIONS))
def test_every_motion_is_heard_or_silent_by_intent(motion):
    sound = render_sound([scene_of("banana", motion), scene_of("banana", "rest")])
    clip, still = sound.square().mean((1, 2)).sqrt()
    if motion == "rest":
        assert clip == still
    else:
        assert clip > 1.5 * still


def test_a_vehicle_has_an_engine_and_a_bicycle_has_none():
    car, bicycle, apple = render_sound([scene_of(n, "rest") for n in ("car", "bicycle", "red apple")])
    assert car.square().mean() > 8 * apple.square().mean()
    assert torch.equal(bicycle, apple)


def test_rates_and_durations():
    scene = scene_of("key", "jump")
    assert render_sound([scene], rate=16000).shape == (1, 1, 32000)
    assert render_sound([scene], duration=0.5).shape == (1, 1, 24000)
    assert render_sound([scene], duration=2.75).shape == (1, 1, 132000)
    low, high = log_mel(render_sound([scene], rate=16000), 16000), log_mel(render_sound([scene]), RATE)
    assert low.shape == high.shape == (1, 64, 401)
    loud = high > -50
    assert (low - high)[loud].abs().mean() < 4  # the noise differs, the picture does not


def test_longer_scenes_have_their_own_length():
    spec = WorldSpec(duration=4.0)
    assert render_sound([sample_scene("val", 0, spec)]).shape == (1, 1, 192000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scenes": []}, "at least one"),
        ({"scenes": [sample_scene("val", 0)], "rate": 8000}, "8000"),
        ({"scenes": [sample_scene("val", 0), sample_scene("val", 0, WorldSpec(duration=3.0))]}, "duration"),
        ({"scenes": [sample_scene("val", 0)], "duration": 0.0}, "too short"),
    ],
)
def test_what_cannot_be_rendered_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        render_sound(**arguments)


def test_captions():
    scene = scene_of("key", "jump", "beach")
    phrasings = {sound_caption(scene, k) for k in range(40)}
    assert len(phrasings) > 8
    assert all("metal" in p for p in phrasings)
    assert all("wave" in p or "surf" in p for p in phrasings)
    assert sound_caption(scene) == sound_caption(scene)
    assert any(word in sound_caption(scene_of("fox", "rest")) for word in ("growls", "snarls"))
    for k in range(300):
        text = sound_caption(sample_scene("train", k))
        assert "  " not in text
        assert text == text.strip()
        assert "{" not in text


# --- the parts ---


def test_partials_equal_their_formula():
    time = np.arange(5000) / RATE
    wanted = sum(
        a * np.exp(-time / d) * np.sin(2 * np.pi * f * time) for f, d, a in ((440, 0.1, 1), (1333, 0.02, 0.5))
    )
    assert np.abs(partials([440, 1333], [0.1, 0.02], [1, 0.5], 5000, RATE) - wanted).max() < 1e-4
    assert not partials([30000], [0.1], [1], 100, RATE).any()  # over the rate's reach


def test_a_curve_passes_through_its_points():
    curve = np.array([0.0, 1.0, 0.5])
    line = stretch(curve, 1900, RATE)
    assert len(line) == 1900
    assert line[[0, 480, 960, 1440]] == pytest.approx([0, 0.5, 1.0, 0.75])


def test_log_mel_puts_a_tone_in_its_band_at_its_level():
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(RATE) / RATE)[None, None] * 0.1
    mel = log_mel(tone, RATE)[0, :, 20:-20]
    assert mel.amax(0).mean() == pytest.approx(-20 + 1.76, abs=2.5)  # the window spreads a tone over 1.5 bins
    peak = int(mel.mean(1).argmax())
    assert 20 < peak < 30
    with pytest.raises(UserError, match="mono"):
        log_mel(torch.zeros(1, 2, RATE), RATE)
