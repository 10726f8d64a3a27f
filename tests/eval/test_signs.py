"""The sign bench: a pipeline that films the true scene is read right, one that films no sign is not."""

from dataclasses import dataclass, replace

import pytest

from kinema.errors import UserError
from kinema.eval.signs import evaluate_signs, signed_scenes
from kinema.media import Video
from kinema.world.captions import canonical_caption
from kinema.world.renderer import render
from kinema.world.signs import is_unseen_word


@dataclass
class Clip:
    video: Video


class Filmer:
    """Films the scene of each prompt: with its sign where the prompt quotes a word, if it can write at all."""

    def __init__(self, writes: bool = True) -> None:
        self.writes, self.calls = writes, 0

    def generate(self, prompts, *, seeds, **settings):
        scenes = {canonical_caption(s): s for s in signed_scenes(12)}
        scenes |= {canonical_caption(replace(s, sign=None)): replace(s, sign=None) for s in scenes.values()}
        self.calls += len(prompts)
        clips = []
        for prompt in prompts:
            scene = scenes[prompt] if self.writes else replace(scenes[prompt], sign=None)
            frames = render([scene])[0].permute(1, 2, 3, 0).contiguous().numpy()
            clips.append(Clip(Video(frames, fps=8.0)))
        return clips


def test_scenes_are_held_out_and_pure():
    words = [s.sign.word for s in signed_scenes(12)]
    assert all(is_unseen_word(word) for word in words)
    assert max(map(len, words)) <= 4
    assert signed_scenes(12)[:5] == signed_scenes(5)
    assert not {s.index for s in signed_scenes(5)} & {s.index for s in signed_scenes(5, seed=1)}


def test_a_writer_is_read_right_and_a_film_without_signs_is_not():
    pipeline = Filmer()
    told = []
    report = evaluate_signs(pipeline, 12, batch_size=8, progress=lambda *p: told.append(p))
    assert pipeline.calls == 12 + 8
    assert told == [(8, 12), (12, 12)]
    assert report["exact"] == report["true_renders"] > 0.8
    assert report["unasked"] == 0
    assert report["exact_by_camera"]
    assert set(report["exact_by_camera"]) <= {"rests", "moves"}
    assert (
        min(report["exact_by_letters"].values())
        <= report["exact"]
        <= max(report["exact_by_letters"].values())
    )
    assert report["low"] <= report["exact"] <= report["high"]
    silent = evaluate_signs(Filmer(writes=False), 12, batch_size=12)
    assert silent["exact"] == 0
    assert silent["characters"] < 0.2


def test_a_count_of_one_is_refused():
    with pytest.raises(UserError, match="at least 2 prompts"):
        evaluate_signs(Filmer(), 1)
