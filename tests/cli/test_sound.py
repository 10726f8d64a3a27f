"""`kinema sound`: what stays of a clip, what is recorded, what repeats."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import kinema as package
from kinema import hub
from kinema.media import Sound, Video, read_provenance
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio
from tests.cli.sound_clips import CLOSE, clip, foreign, packets, real, tone


def test_a_silent_clip_gets_sound_and_its_picture_stays(sound):
    before = clip()
    answer = sound("a.mp4", "--prompt", "metal impacts over waves")
    assert (answer.code, answer.err) == (0, "")
    assert "wrote a_sound.mp4 (1.60 s of sound under 20 frames" in answer.out
    assert Path("a.mp4").read_bytes() == before
    one, two = Video.read("a.mp4"), Video.read("a_sound.mp4")
    assert packets("a.mp4") == packets("a_sound.mp4")
    assert np.array_equal(one.frames, two.frames)
    assert one.fps == two.fps
    assert two.sound.seconds == pytest.approx(one.seconds, abs=CLOSE)
    assert np.abs(two.sound.samples).max() > 1e-3
    record = read_provenance("a_sound.mp4").settings["sound"]
    assert (record["prompt"], record["seed"], record["steps"]) == ("metal impacts over waves", 0, 1)
    assert (record["weights"], record["to"]) == ("file", "file")


def test_the_same_seed_gives_the_same_file_and_everything_else_another(sound):
    clip()
    heard = {}
    for name, words in {
        "one": (), "same": (), "seed": ("--seed", "1"), "prompt": ("--prompt", "waves"), "music": ("--music", "a harp"),
        "clean": ("--quality", "4", "--guidance-scale", "1"),
    }.items():  # fmt: skip
        assert sound("a.mp4", "-o", f"{name}.mp4", *words).code == 0
        heard[name] = Video.read(f"{name}.mp4").sound.samples
    assert Path("one.mp4").read_bytes() == Path("same.mp4").read_bytes()
    for name in ("seed", "prompt", "music", "clean"):
        assert not np.array_equal(heard["one"], heard[name]), name
    record = read_provenance("clean.mp4").settings["sound"]
    assert (record["quality"], record["guidance_scale"], record["music"]) == (4.0, 1.0, "")


def test_of_several_candidates_the_one_that_the_ranking_likes_best_is_kept(sound, monkeypatch):
    clip()
    likes = {"first": [1.0, 0.0, 0.0], "last": [0.0, 0.0, 1.0]}
    heard = {}
    for name, scores in likes.items():
        monkeypatch.setattr(
            "kinema.systems.movie_gen.audio.pipeline.Agreement", lambda _, s=scores: lambda *_: s
        )
        assert sound("a.mp4", "-o", f"{name}.mp4", "--candidates", "3").code == 0
        heard[name] = Video.read(f"{name}.mp4").sound.samples
    assert sound("a.mp4", "-o", "alone.mp4").code == 0
    assert np.array_equal(heard["first"], Video.read("alone.mp4").sound.samples)
    assert not np.array_equal(heard["first"], heard["last"])
    assert read_provenance("last.mp4").settings["sound"]["candidates"] == 3


def test_the_sound_follows_the_picture(sound):
    clip("a.mp4")
    Video(np.zeros((20, 32, 48, 3), np.uint8), 12.5).write("dark.mp4")
    sound("a.mp4", "-o", "one.mp4")
    sound("dark.mp4", "-o", "two.mp4")
    assert not np.array_equal(Video.read("one.mp4").sound.samples, Video.read("two.mp4").sound.samples)


def test_a_sound_track_is_replaced_and_that_is_said(sound):
    before = clip(sound=tone(1.6))
    document = sound("a.mp4", "--json").document
    assert document["notices"] == ["the clip's own sound is not in the new file"]
    assert (document["num_frames"], document["fps"], document["picture_copied"]) == (20, 12.5, True)
    assert document["sound_seconds"] == pytest.approx(document["picture_seconds"], abs=CLOSE)
    assert Path("a.mp4").read_bytes() == before
    mixed = Video.read("a_sound.mp4").sound.samples[0, :60000] - tone(1.6).samples[0, :60000]
    assert np.abs(mixed).mean() > 0.05


def test_infilling_keeps_what_is_outside_the_gap_in_stereo(sound):
    before = clip(sound=tone(1.6, channels=2))
    assert sound("a.mp4", "--infill", "0.5:1").code == 0
    one, two = (Video.read(name).sound.samples for name in ("a.mp4", "a_sound.mp4"))
    assert one.shape[0] == two.shape[0] == 2
    change = np.abs(one[:, :76000] - two[:, :76000])
    assert change[:, 24000:48000].mean() > 0.02
    for kept in (change[:, :21000], change[:, 51000:]):
        assert kept.mean() < 0.01
    assert Path("a.mp4").read_bytes() == before
    assert read_provenance("a_sound.mp4").settings["sound"]["infill"] == [0.5, 1.0]


def test_extending_keeps_the_sound_and_the_length_of_the_picture(sound):
    clip(sound=tone(1.6))
    assert sound("a.mp4", "--extend", "0.9").code == 0
    one, two = Video.read("a.mp4"), Video.read("a_sound.mp4")
    assert packets("a.mp4") == packets("a_sound.mp4")
    assert two.num_frames == one.num_frames
    assert two.sound.seconds == pytest.approx(one.sound.seconds + 0.9, abs=CLOSE)
    assert (
        np.abs(one.sound.samples - two.sound.samples[:, : one.sound.samples.shape[1]])[:, :70000].mean()
        < 0.01
    )
    assert np.abs(two.sound.samples[:, 80000:]).max() > 1e-3


@pytest.mark.parametrize(
    ("layout", "rate", "channels"), [("5.1", 48000, 2), ("mono", 8000, 1), ("stereo", 44100, 2)]
)
@pytest.mark.parametrize("wish", [("--infill", "1:1.5"), ("--extend", "0.5")], ids=["infill", "extend"])
def test_surround_sound_and_other_rates_are_brought_to_the_model(sound, layout, rate, channels, wish):
    before = foreign("a.mp4", "libx264", sound=(layout, rate))
    answer = sound("a.mp4", *wish)
    assert answer.code == 0
    assert ("6 channels mixed down to stereo" in answer.out) == (layout == "5.1")
    one, two = Video.read("a.mp4"), Video.read("a_sound.mp4")
    assert two.sound.samples.shape[0] == channels
    more = 0.5 if wish[0] == "--extend" else 0.0
    assert two.sound.seconds == pytest.approx(
        max(one.sound.seconds, one.seconds if not more else 0) + more, abs=0.03
    )
    spectrum = np.abs(
        np.fft.rfft(two.sound.samples[0, 4000 : 4000 + 24000])
    )  # of half a second that was kept
    assert abs(2 * np.argmax(spectrum) - 440) <= 4
    assert Path("a.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "codec", "copied"),
    [
        ("a.mkv", "libx264", True),
        ("a.mov", "mpeg4", True),
        ("a.webm", "libvpx", False),
        ("a.avi", "mpeg4", False),
    ],
)
def test_clips_of_other_kinds_keep_their_length_and_rate(sound, name, codec, copied):
    before = foreign(name, codec)
    document = sound(name, "--json").document
    assert (document["picture_copied"], document["file"]) == (copied, "a_sound.mp4")
    assert any("encoded again" in notice for notice in document["notices"]) is not copied
    one, two = Video.read(name), Video.read("a_sound.mp4")
    assert one.frames.shape == two.frames.shape
    assert one.fps == pytest.approx(two.fps, rel=1e-6)
    assert np.array_equal(one.frames, two.frames) or not copied
    assert two.sound.seconds == pytest.approx(one.seconds, abs=CLOSE)
    assert Path(name).read_bytes() == before


def test_an_animated_picture_is_a_clip(sound):
    clip("a.gif", fps=10.0)
    assert sound("a.gif").code == 0
    heard = Video.read("a_sound.mp4")
    assert (heard.num_frames, heard.fps) == (20, 10.0)
    assert heard.sound.seconds == pytest.approx(2.0, abs=CLOSE)


def test_a_filmed_clip_with_surround_sound(sound, tmp_path):
    path = real("bigbuckbunny.mp4")
    before = path.read_bytes()
    answer = sound(str(path), "--infill", "2:3", "-o", str(tmp_path / "rabbit.mp4"))
    assert answer.code == 0
    assert packets(path) == packets(tmp_path / "rabbit.mp4")
    one, two = Sound.read(path), Sound.read(tmp_path / "rabbit.mp4")
    assert two.samples.shape[0] == 2
    assert two.seconds == pytest.approx(one.seconds, abs=0.05)
    assert path.read_bytes() == before


def test_the_hub_loads_it_and_names_its_commands(kinema, sound_weights):
    model = package.load("movie-gen-audio-nano", weights=sound_weights)
    assert isinstance(model, MovieGenAudio)
    assert model.generate(["waves"], seconds=0.2, seeds=[0], steps=1)[0].seconds == 0.2
    entry = hub.find("movie-gen-audio")
    assert {"preset", "data", "seed", "init"} <= set(inspect.signature(hub.resolve(entry.recipe)).parameters)
    asked = {"num_prompts", "seed", "steps", "guidance_scale", "progress"}
    assert asked <= set(inspect.signature(hub.resolve(entry.evaluator)).parameters)
    assert kinema("info", "movie-gen-audio", "--json").document["commands"] == ["sound", "train", "eval"]
    answer = kinema("generate", "a fox", "-o", "a.mp4", "--model", "movie-gen-audio")
    assert (answer.code, "use `kinema sound`" in answer.err) == (2, True)
