"""Candidates are ranked by what is seen and said: the true sound of a scene before that of others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinema.media import Sound, Video
from kinema.systems.movie_gen.audio import ranking
from kinema.systems.movie_gen.audio.ranking import Agreement, Expected, agreement, expected_in, expected_of
from kinema.systems.movie_gen.audio.visual import REACH, FrameNet, FrameNetConfig
from kinema.systems.movie_gen.audio.visual_recipe import SeeingFrames, kept_heads
from kinema.world.judges.audio import Heard, Reading
from kinema.world.scene import BACKGROUNDS, sample_scene
from kinema.world.sound.events import MATERIALS, onsets
from kinema.world.sound.mix import render_sound
from kinema.world.sound.words import sound_caption


def reading(*impacts: tuple[float, str], background: str = "beach") -> Reading:
    events = tuple(Heard(time=t, kind="impact", sound=s, confidence=1.0) for t, s in impacts)
    return Reading(events=events, background=background, background_confidence=0.75)


def test_agreement_by_hand() -> None:
    expected = Expected((0.5, 1.0), "metal", "beach")
    assert agreement(expected, reading((0.51, "metal"), (1.03, "metal"))) == pytest.approx((1 + 1 + 0.75) / 3)
    late = reading((0.6, "wood"), (1.0, "wood"), background="snow")
    assert agreement(expected, late) == pytest.approx((0.5 + 0 + 0.25) / 3)
    assert agreement(Expected(()), reading()) == 1.0
    assert agreement(Expected(()), reading((0.5, "wood"))) == 0.0
    assert agreement(Expected(), reading()) == 0.0


def test_words_of_the_world_are_understood() -> None:
    for number in range(40):
        scene = sample_scene("val", number)
        said = expected_in(sound_caption(scene, 0))
        assert said.background == scene.background
        if said.material is not None and onsets(scene, ("impact",)):
            assert said.material in {actor.material for actor in scene.actors}
    assert expected_in("a piano in a hall") == Expected()
    assert expected_in("wood and glass impacts").material is None


def test_impacts_are_read_from_the_heads_and_neighbours_are_one() -> None:
    net = FrameNet(FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12, heads=kept_heads()))
    with torch.no_grad():
        for head in net.heads.values():
            head.weight.zero_()
            head.bias.fill_(-1.0)
        net.heads["events"].bias[1] = 0.2
        net.heads["material"].bias[MATERIALS.index("glass")] = 5.0
        net.heads["background"].bias[BACKGROUNDS.index("snow")] = 5.0
    video = Video(torch.zeros(6, 32, 32, 3, dtype=torch.uint8).numpy(), 10.0)
    assert expected_of(net, video) == Expected((), None, "snow")
    with torch.no_grad():
        net.heads["events"].bias[0] = 1.0
    fast = replace(video, fps=50.0)  # six frames within 0.1 s, 20 ms apart: one impact
    assert expected_of(net, fast).impacts == pytest.approx((0.05 + REACH * 0.2,))
    assert len(expected_of(net, video).impacts or ()) == 6
    assert expected_of(net, video).material == "glass"
    bare = FrameNet(FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12))
    assert expected_of(bare, video) == Expected()


def test_a_scene_s_own_sound_is_put_first(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [sample_scene("val", number) for number in range(6)]
    sounds = [Sound(render_sound([scene], 48000)[0].numpy(), 48000) for scene in scenes]
    truth = {
        k: Expected(tuple(e.time for e in onsets(scene, ("impact",))), None, scene.background)
        for k, scene in enumerate(scenes)
    }
    net = FrameNet(FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12))
    for number in truth:
        monkeypatch.setattr(ranking, "expected_of", lambda *_, number=number: truth[number])
        video = Video(torch.zeros(2, 32, 32, 3, dtype=torch.uint8).numpy(), 8.0)
        scores = Agreement(net)(sounds, video, "")
        assert scores[number] >= max(scores) - 1e-3  # another may have the same background and no impact
        assert min(scores) < 0.7


def test_kept_heads_learn_with_the_others() -> None:
    net = FrameNet(FrameNetConfig(widths=(8, 8, 8, 8), squeezed=8, dim=16, heads=kept_heads()))
    seeing = SeeingFrames(net)
    told = seeing(torch.zeros(2, 3, 3, 64, 64), torch.tensor([8.0, 16.0]))
    assert set(told) == {"struck", "when", "speed", "identity", "family", "material", "motion", "background"}
    assert set(seeing.others) == {"identity", "motion"}
    told["struck"].sum().backward()
    assert net.heads["events"].weight.grad is not None
