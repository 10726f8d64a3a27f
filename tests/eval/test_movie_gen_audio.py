"""The audio report: an oracle reaches the bound, the controls do not, and a deaf maker gets nothing."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.eval.movie_gen_audio import ARMS, NOTHING, evaluate, judged, table, true_video
from kinema.eval.movie_gen_video import held_out_scenes
from kinema.media import Sound
from kinema.world.judges.audio import Heard, Reading
from kinema.world.sound.events import onsets, sound_class

CLIPS = 16
SILENCE = Sound(np.zeros((1, 96000), np.float32), 48000)


class Oracle:
    """Knows the true sound of each clip; from words alone it makes nothing."""

    def __init__(self):
        videos = [true_video(scene) for scene in held_out_scenes("val", CLIPS)]
        self.known = {video.frames.tobytes(): video.sound for video in videos}
        self.asked = []

    def sound_for(self, video, prompt="", seed=0, **settings):
        self.asked.append((prompt, seed, settings))
        return self.known[video.frames.tobytes()]

    def generate(self, prompts, *, seconds, seeds, **settings):
        assert seconds == 2.0
        return [SILENCE for _ in prompts]

    def round_trip(self, sound):
        return sound


@pytest.fixture(scope="module")
def report():
    oracle, seen = Oracle(), []
    result = evaluate(oracle, CLIPS, steps=4, progress=lambda done, total: seen.append((done, total)))
    return oracle, seen, result


def test_an_oracle_reaches_the_bound_and_the_controls_do_not(report):
    _, _, result = report
    arms = result["arms"]
    assert arms["video"] == arms["true"] == arms["codec"]
    assert arms["true"]["impacts"]["f1"] > 0.9
    assert arms["true"]["impacts"]["error_ms"] < 10
    assert arms["true"]["material"]["share"] > 0.8
    assert arms["shuffled"]["impacts"]["f1"] < 0.6 * arms["true"]["impacts"]["f1"]
    assert arms["shuffled"]["bed"]["share"] < 0.5
    assert arms["nothing"]["impacts"]["f1"] < 0.1
    assert arms["nothing"]["creature"]["share"] < 0.1


def test_every_arm_is_asked_once_a_clip_with_its_own_seed(report):
    oracle, seen, _ = report
    assert seen[-1] == (4 * CLIPS, 4 * CLIPS)
    assert len(oracle.asked) == 2 * CLIPS
    assert [prompt == "" for prompt, _, _ in oracle.asked] == [True, False] * CLIPS
    assert [seed for _, seed, _ in oracle.asked] == [k for k in range(CLIPS) for _ in range(2)]
    assert oracle.asked[0][2] == {"steps": 4}


def test_the_table_has_a_row_for_each_arm(report):
    lines = table(report[2]).splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(ARMS) + 3


def test_figures_are_counted_as_they_are_said():
    scene = next(s for s in held_out_scenes("val", 60) if len(onsets(s, ("impact",))) == 2)
    first, second = onsets(scene, ("impact",))
    material = sound_class(scene, first)
    wrong = "glass" if material != "glass" else "wood"

    def read(*events):
        heard = tuple(Heard(time=t, kind="impact", sound=s, confidence=1.0) for t, s in events)
        return judged(
            [Reading(events=heard, background=scene.background, background_confidence=1.0)], [scene]
        )

    half = read((first.time + 0.01, material), (second.time + 0.1, material))
    assert half["impacts"]["f1"] == pytest.approx(0.5)
    assert half["impacts"]["error_ms"] == pytest.approx(10)
    assert half["material_of_hits"]["share"] == 1.0
    assert read((first.time, wrong))["material"]["share"] == 0.0
    nothing = read()
    assert nothing["material"]["share"] == 0.0
    assert nothing["material_of_hits"] is None
    assert nothing["bed"]["share"] == 1.0
    assert NOTHING not in material


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        evaluate(Oracle(), 1)
    with pytest.raises(UserError, match="no arm"):
        evaluate(Oracle(), 2, arms=("dreams",))
