"""The sound of `kinema generate` and `kinema rerun`."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import kinema as package
from kinema import model_table
from kinema.cli import generate, sounding
from kinema.media import Video, read_provenance
from tests.cli.sound_clips import CLOSE, tone


@pytest.fixture
def listening(pipeline, sound_weights, monkeypatch):
    """`kinema generate` with the tiny clips and the tiny sound."""
    tiny = package.load("movie-gen-audio-nano", weights=sound_weights)
    model = sounding.making.Opened(tiny, "nano", "abcdef012345")
    monkeypatch.setattr(sounding, "open_sound", lambda *_: model)
    monkeypatch.setattr(generate, "open_sound_for", lambda *_: model)
    return pipeline


FOX = "a fox bounces to the right on a beach"


def test_generate_makes_sound_and_rerun_repeats_it(kinema, listening):
    answer = kinema("generate", FOX, "--seed", "3", "-o", "fox.mp4")
    assert (answer.code, answer.err) == (0, "")
    assert "wrote fox.mp4 (4 frames of 16x16 with sound, seed 3" in answer.out
    video = Video.read("fox.mp4")
    assert video.sound.seconds == pytest.approx(video.seconds, abs=CLOSE)
    told = read_provenance("fox.mp4")
    record = told.settings["sound"]
    assert told.prompt == FOX
    assert re.search(
        r"soft \w+.* (waves|surf)\b|(waves|surf)\b.* soft \w+", record["prompt"]
    )  # a fox is soft
    assert (record["seed"], record["to"], record["weights_hash"]) == (3, "clip", "abcdef012345")
    document = kinema("rerun", "fox.mp4", "--json").document
    assert (document["equal"], document["sound_equal"]) == (True, True)
    assert read_provenance("fox_rerun.mp4") == told
    changed = replace(video, sound=tone(0.5))
    changed.write("changed.mp4")
    spoken = kinema("rerun", "changed.mp4")
    assert (spoken.code, "sound: not equal" in spoken.out) == (1, True)


def test_no_sound_leaves_it_out_and_pictures_that_move_hold_none(kinema, listening):
    for words in (("-o", "a.mp4", "--no-sound"), ("-o", "a.gif")):
        document = kinema("generate", FOX, *words, "--json").document
        assert document["clips"][0]["sound_seconds"] is None
        assert Video.read(words[1]).sound is None
    document = kinema("generate", FOX, "-o", "b.mp4", "--json").document
    assert document["clips"][0]["sound_seconds"] == 0.5


def test_words_that_are_not_the_world_s_are_taken_as_they_are_but_for_voices(kinema, listening):
    assert kinema("generate", "rain on a tin roof", "-o", "rain.mp4").code == 0
    assert read_provenance("rain.mp4").settings["sound"]["prompt"] == "rain on a tin roof"
    answer = kinema("generate", "a man talks", "-o", "man.mp4")
    assert (answer.code, "note: The sound has no speech" in answer.out) == (0, True)
    assert read_provenance("man.mp4").settings["sound"]["prompt"] == ""
    short = kinema("generate", "rain", "-o", "short.mp4", "--num-frames", "1", "--fps", "100")
    assert (short.code, "note: The clip is silent" in short.out) == (0, True)


def test_without_weights_clips_are_silent_and_nothing_is_wrong(kinema, pipeline, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "open_sound_for", sounding.open_sound_for)
    monkeypatch.setattr(model_table, "PACKAGE", tmp_path)
    answer = kinema("generate", FOX, "-o", "fox.mp4")
    assert (answer.code, answer.err) == (0, "")
    assert Video.read("fox.mp4").sound is None
    assert sounding.open_sound_for("wan-2.1", "cpu") is None


def test_sound_put_under_a_made_clip_is_not_made_again(kinema, pipeline, sound):
    kinema("generate", "a red fox", "--seed", "1", "-o", "fox.mp4")
    assert sound("fox.mp4").code == 0
    told = read_provenance("fox_sound.mp4")
    assert (told.prompt, told.seed, told.model) == ("a red fox", 1, "movie-gen-video-nano")
    answer = kinema("rerun", "fox_sound.mp4")
    assert answer.code == 0
    assert "its sound was put under the finished file" in answer.out


def test_a_record_from_anybody_is_not_believed(kinema, listening):
    kinema("generate", FOX, "-o", "fox.mp4")
    video = Video.read("fox.mp4")
    told = video.metadata["kinema"]
    for wrong, words in (
        ({"seed": -1}, "--seed is -1"),
        ({"seed": True}, "seed=True"),
        ({"steps": 10**9}, "--steps is 1e+09"),
        ({"prompt": None}, "prompt=None"),
        ({"prompt": "a man talks"}, "asks for speech"),
        ({"quality": 1000.0}, "quality is 1000.0"),
        ({"model": "other"}, "not in this kinema"),
        ({"weights": "/etc/passwd"}, "not in this kinema"),
        ({"weights_hash": "0"}, "with the weights 0"),
    ):
        record = {**told.settings["sound"], **wrong}
        forged = replace(told, settings={**told.settings, "sound": record})
        replace(video, metadata={"kinema": forged}).write("forged.mp4", overwrite=True)
        answer = kinema("rerun", "forged.mp4", "-o", "again.mp4")
        assert (answer.code, words in answer.err) == (2, True), answer.err
    replace(video, metadata={"kinema": replace(told, settings={**told.settings, "sound": 3})}).write(
        "forged.mp4", overwrite=True
    )
    assert kinema("rerun", "forged.mp4", "-o", "again.mp4").code == 2
