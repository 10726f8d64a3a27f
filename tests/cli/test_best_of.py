"""`--best-of`: the clip that the judges prefer is written, as the clip of its own seed."""

import json

import numpy as np
import pytest

from kinema import hub
from kinema.media import Video, read_provenance
from kinema.systems.movie_gen.video.choose import agreement
from kinema.world.captions import canonical_caption
from kinema.world.renderer import render
from kinema.world.scene import WorldSpec, sample_scene


def brightest(videos, prompt):
    return [float(video.frames.mean()) for video in videos]


def test_the_preferred_seed_is_kept_and_can_be_made_alone(kinema, pipeline, monkeypatch):
    monkeypatch.setattr(hub, "resolve", lambda path: brightest)
    answer = kinema("generate", "a cat", "--seed", "5", "--best-of", "4", "-o", "best.mp4", "--json")
    assert answer.code == 0, answer.err
    assert [call["seed"] for call in pipeline.calls] == [5, 6, 7, 8]
    (clip,) = json.loads(answer.out)["clips"]
    assert f"The judges chose seed {clip['seed']} of 4." in clip["notices"]
    assert read_provenance("best.mp4").seed == clip["seed"]
    means = {}
    for seed in range(5, 9):
        kinema("generate", "a cat", "--seed", str(seed), "-o", f"{seed}.mp4")
        means[seed] = Video.read(f"{seed}.mp4").frames.mean()
    assert clip["seed"] == max(means, key=means.__getitem__)
    assert np.array_equal(Video.read("best.mp4").frames, Video.read(f"{clip['seed']}.mp4").frames)


@pytest.mark.parametrize("count", ["0", "65"])
def test_a_count_beyond_the_limits_is_refused(kinema, no_pipeline, count):
    answer = kinema("generate", "a cat", "--best-of", count, "-o", "a.mp4")
    assert answer.code == 2
    assert f"--best-of is {count} and must lie between 1 and 64" in answer.err


def test_the_judges_prefer_what_was_asked_for():
    spec = WorldSpec(vocabulary="nano", sign_odds=1.0, sign_letters=(2, 3))
    scenes = [sample_scene("val", index, spec) for index in range(4)]
    frames = render(scenes).permute(0, 2, 3, 4, 1).contiguous().numpy()
    videos = [Video(clip, fps=8.0) for clip in frames]
    for number, scene in enumerate(scenes):
        scores = agreement(videos, canonical_caption(scene))
        assert max(range(4), key=scores.__getitem__) == number
