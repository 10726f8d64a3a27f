"""The evaluation of a text-to-video pipeline: an oracle gets the judge's own figures, a liar gets chance."""

import json
from dataclasses import dataclass

import pytest

from kinema.errors import UserError
from kinema.eval.movie_gen_video import BLOCK, evaluate, held_out_scenes, table
from kinema.media import Video
from kinema.world.captions import canonical_caption
from kinema.world.judges.labels import ATTRIBUTES
from kinema.world.renderer import render

COUNT = 12


@dataclass
class Clip:
    video: Video


class Oracle:
    """Knows the scene behind each prompt by its seed and films it; `lie` films the wrong scene."""

    def __init__(self, lie: int = 0) -> None:
        self.lie, self.calls = lie, []

    def generate(self, prompts, *, seeds, **settings):
        self.calls.append((list(prompts), settings))
        clips = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            split = next(s for s in ("val", "test-pairs") if _caption(s, seed) == prompt)
            scene = held_out_scenes(split, COUNT, seed // BLOCK)[(seed + self.lie) % BLOCK % COUNT]
            frames = render([scene])[0].permute(1, 2, 3, 0).contiguous().numpy()
            clips.append(Clip(Video(frames, fps=8.0)))
        return clips


def _caption(split: str, seed: int) -> str:
    return canonical_caption(held_out_scenes(split, COUNT, seed // BLOCK)[seed % BLOCK])


def test_an_oracle_scores_what_the_judge_scores_on_true_renders():
    seen = []
    pipeline = Oracle()
    result = evaluate(
        pipeline, COUNT, seed=3, steps=7, batch_size=8, progress=lambda *p: seen.append(p), signs=False
    )
    assert [len(prompts) for prompts, _ in pipeline.calls] == [8, 4, 8, 4]
    assert pipeline.calls[0][1] == {"steps": 7}
    assert seen == [(8, 24), (12, 24), (20, 24), (24, 24)]
    for split in result["splits"].values():
        for figures in split["attributes"].values():
            assert figures["accuracy"] == figures["true_renders"]
            assert figures["low"] <= figures["accuracy"] <= figures["high"]
        assert split["attributes"]["background"]["accuracy"] > 0.8
        assert split["frechet"] < 1e-3 * split["frechet_floor"]
    assert json.loads(json.dumps(result)) == result
    text = table(result)
    assert all(f"| {name} |" in text for name in (*ATTRIBUTES, "everything"))
    assert "Clips: 12 val, 12 test-pairs; seed 3; steps 7, guidance default." in text


def test_a_pipeline_that_films_something_else_scores_low():
    result = evaluate(Oracle(lie=1), COUNT, seed=0, splits=("val",), batch_size=COUNT, signs=False)
    figures = result["splits"]["val"]["attributes"]
    assert figures["identity"]["accuracy"] < 0.3
    assert figures["everything"]["accuracy"] == 0
    assert figures["identity"]["true_renders"] > 0.8
    assert figures["motion"]["mistakes"]


def test_seeds_have_prompts_of_their_own_and_splits_are_held_out():
    first, second = held_out_scenes("val", 5, 0), held_out_scenes("val", 5, 1)
    assert not {s.index for s in first} & {s.index for s in second}
    assert first == held_out_scenes("val", 10, 0)[:5]
    with pytest.raises(UserError, match="no held-out split 'train'"):
        held_out_scenes("train", 5)


def test_a_pipeline_that_drops_clips_is_named():
    class Short:
        def generate(self, prompts, *, seeds, **settings):
            return []

    with pytest.raises(UserError, match="made 0 clips of 4 prompts"):
        evaluate(Short(), 4, splits=("val",), batch_size=4)
    with pytest.raises(UserError, match="at least 2 prompts"):
        evaluate(Short(), 1)
