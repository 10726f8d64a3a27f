"""`kinema rerun`: the same file again, or an honest word that it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema.media import Video, read_provenance

ASK = [
    "--steps=2", "--guidance-scale=1.5", "--height=18", "--width=20", "--num-frames=3", "--fps=6",
    "--negative-prompt=blur",
]  # fmt: skip


@pytest.fixture
def clip(kinema, pipeline):
    """A clip with settings of its own."""
    assert kinema("generate", "a red fox", "--seed", "11", "-o", "fox.mp4", *ASK).code == 0
    return kinema


def test_equal_bit_for_bit(clip, pipeline):
    answer = clip("rerun", "fox.mp4")
    assert answer.code == 0
    assert "equal, bit for bit (3 frames)" in answer.out
    assert pipeline.calls[0] == pipeline.calls[1]
    assert np.array_equal(Video.read("fox.mp4").frames, Video.read("fox_rerun.mp4").frames)
    assert read_provenance("fox_rerun.mp4") == read_provenance("fox.mp4")


def test_as_json_into_a_named_file(clip):
    document = clip("rerun", "fox.mp4", "-o", "again/fox.mp4", "--json").document
    assert document == {
        "file": "fox.mp4", "rerun": "again/fox.mp4", "equal": True, "frames": 3,
        "largest_difference": 0, "share_of_values_that_differ": 0.0,
    }  # fmt: skip


def test_a_model_that_does_not_repeat_itself_is_told_on(clip, pipeline):
    pipeline.wobble = 40
    answer = clip("rerun", "fox.mp4", "--json")
    assert answer.code == 1
    assert answer.document["equal"] is False
    assert answer.document["largest_difference"] > 10


def test_a_file_that_was_cut_afterwards(clip):
    video = Video.read("fox.mp4")
    replace(video, frames=video.frames[:2]).write("cut.mp4")
    spoken = clip("rerun", "cut.mp4")
    assert spoken.code == 1
    assert "the clips differ in size" in spoken.out


def test_the_clip_itself_is_safe(clip):
    before = Path("fox.mp4").read_bytes()
    for extra in ([], ["--overwrite"]):
        answer = clip("rerun", "fox.mp4", "-o", "fox.mp4", *extra)
        assert answer.code == 2
    assert "is the clip itself" in answer.err
    assert Path("fox.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": None}, "does not record its seed"),
        ({"prompt": ""}, "is empty"),
        ({"prompt": "a" * 3000}, "3000 characters"),
        ({"settings": {"height": 10**9}}, "height inside 'other.mp4' is 1e+09"),
        ({"settings": {"steps": "rm -rf"}}, "should be a whole number"),
        ({"settings": {"weights": "file"}}, "name that file with --weights"),
        ({"weights_hash": "ffffffffffff"}, "made with the weights ffffffffffff and these are 0123456789ab"),
        (None, "does not say how it was made"),
    ],
)
def test_what_a_strangers_file_may_say(clip, change, sentence):
    video = Video.read("fox.mp4")
    provenance = read_provenance("fox.mp4")
    metadata = {} if change is None else {"kinema": replace(provenance, **change)}
    replace(video, metadata=metadata).write("other.mp4")
    answer = clip("rerun", "other.mp4")
    assert answer.code == 2
    assert sentence in answer.err
    assert not Path("other_rerun.mp4").exists()


def test_another_version_is_mentioned(clip):
    video, provenance = Video.read("fox.mp4"), read_provenance("fox.mp4")
    replace(video, metadata={"kinema": replace(provenance, version="0.0.1")}).write("old.mp4")
    assert "the file was made by kinema 0.0.1" in clip("rerun", "old.mp4").out
