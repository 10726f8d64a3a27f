"""`kinema upsample` and `kinema generate --upsample`: what stays, what is recorded, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.cli import upsample as verb
from kinema.media import Sound, Video, read_provenance
from kinema.systems.movie_gen.upsampler.pipeline import target_size


@dataclass
class TinyUpsampler:
    """Repeats pixels; remembers what it was asked."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def upsample(self, video, *, height=None, width=None, seed=0, steps=None, on_step=None):
        rows, columns = target_size(video.frames.shape, height, width)
        self.calls.append({"seed": seed, "steps": steps, "size": (rows, columns)})
        y = np.arange(rows) * video.frames.shape[1] // rows
        x = np.arange(columns) * video.frames.shape[2] // columns
        return replace(video, frames=video.frames[:, y][:, :, x])


@pytest.fixture
def upsampler(monkeypatch):
    tiny = TinyUpsampler()
    monkeypatch.setattr(
        verb, "open_upsampler", lambda weights, device: verb.making.Opened(tiny, "nano", "abcdef012345")
    )
    from kinema.cli import generate

    monkeypatch.setattr(generate, "open_upsampler", verb.open_upsampler)
    return tiny


@pytest.fixture
def no_upsampler(monkeypatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("the upsampler was opened although the input is wrong")

    monkeypatch.setattr(verb, "open_upsampler", refuse)


def clip(name: str, frames: int = 3, sound: bool = False) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (frames, 16, 24, 3), dtype=np.uint8)
    samples = Sound(np.full((1, 4000), 0.25, np.float32), 8000) if sound else None
    Video(pixels, 8.0, samples).write(name)
    return Path(name).read_bytes()


def test_a_clip_of_any_origin_is_made_larger_and_stays_what_it_was(kinema, upsampler):
    before = clip("a.mp4", sound=True)
    answer = kinema("upsample", "a.mp4", "-o", "b.mp4", "--seed", "4", "--steps", "2")
    assert answer.code == 0
    assert "wrote b.mp4 (3 frames of 48x32" in answer.out
    assert Path("a.mp4").read_bytes() == before
    large = Video.read("b.mp4")
    assert large.frames.shape == (3, 32, 48, 3)
    assert large.sound is not None
    assert large.fps == 8.0
    told = read_provenance("b.mp4")
    assert (told.model, told.seed) == (verb.NAME, None)
    assert told.settings["upsampled"]["seed"] == 4
    assert told.settings["upsampled"]["steps"] == 2
    spoken = kinema("rerun", "b.mp4")
    assert (spoken.code, "cannot be made again" in spoken.err) == (2, True)


def test_the_default_name_the_size_and_json(kinema, upsampler):
    clip("a.mp4")
    document = kinema("upsample", "a.mp4", "--width", "36", "--json").document
    assert document["file"] == "a_large.mp4"
    assert (document["height"], document["width"], document["num_frames"]) == (24, 36, 3)


def test_generate_makes_it_larger_and_rerun_repeats_both(kinema, pipeline, upsampler):
    small = kinema("generate", "a red fox", "--seed", "11", "-o", "small.mp4")
    answer = kinema("generate", "a red fox", "--seed", "11", "-o", "fox.mp4", "--upsample", "--json")
    assert small.code == answer.code == 0
    (row,) = answer.document["clips"]
    assert (row["height"], row["width"]) == (32, 32)
    assert upsampler.calls == [{"seed": 11, "steps": None, "size": (32, 32)}]
    one, other = read_provenance("small.mp4"), read_provenance("fox.mp4")
    settings = dict(other.settings)
    assert settings.pop("upsampled")["height"] == 32
    assert (one.prompt, one.seed, one.model, one.settings) == (
        other.prompt,
        other.seed,
        other.model,
        settings,
    )
    again = kinema("rerun", "fox.mp4")
    assert again.code == 0
    assert "equal, bit for bit" in again.out
    assert upsampler.calls[1]["size"] == (32, 32)


def test_a_record_from_anybody_is_not_believed(kinema, pipeline, upsampler):
    kinema("generate", "a red fox", "-o", "fox.mp4", "--upsample")
    video = Video.read("fox.mp4")
    told = video.metadata["kinema"]
    for wrong, words in (
        ({"height": "x"}, "height='x'"),
        ({"seed": -1}, "seed=-1"),
        ({"height": 10**6}, "at most 1024"),
        ({"model": "other"}, "not in this kinema"),
        ({"weights": "/etc/passwd"}, "not in this kinema"),
        ({"weights_hash": "0"}, "with the weights 0"),
    ):
        record = {**told.settings["upsampled"], **wrong}
        forged = replace(told, settings={**told.settings, "upsampled": record})
        replace(video, metadata={"kinema": forged}).write("forged.mp4", overwrite=True)
        answer = kinema("rerun", "forged.mp4", "-o", "again.mp4")
        assert (answer.code, words in answer.err) == (2, True), answer.err
    replace(video, metadata={"kinema": replace(told, settings={**told.settings, "upsampled": 3})}).write(
        "forged.mp4", overwrite=True
    )
    assert kinema("rerun", "forged.mp4", "-o", "again.mp4").code == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.mp4"], "nowhere.mp4"),
        (["."], "not a regular file"),
        (["text.mp4"], "text.mp4"),
        (["a.mp4", "-o", "a.mp4", "--overwrite"], "is the clip itself"),
        (["a.mp4", "-o", "b.txt"], "ends in .mp4"),
        (["a.mp4", "-o", "there.mp4"], "pass --overwrite"),
        (["a.mp4", "--height", "8"], "only makes clips larger"),
        (["a.mp4", "--height", "1500"], "at most 1024 rows"),
        (["a.mp4", "--steps", "0"], "steps"),
        (["a.mp4", "--seed", "-1"], "seed"),
        (["heard.mp4", "-o", "b.gif"], "has sound"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_loaded(kinema, no_upsampler, words, sentence):
    before = clip("a.mp4")
    clip("heard.mp4", sound=True)
    clip("there.mp4")
    Path("text.mp4").write_text("no video")
    answer = kinema("upsample", *words)
    assert answer.code == 2
    assert sentence in answer.err
    assert answer.err.startswith("kinema: ")
    assert answer.err.count("\n") == 1
    assert Path("a.mp4").read_bytes() == before
    assert not Path("b.gif").exists()


def test_the_upsampler_makes_no_clips_from_text(kinema):
    answer = kinema("generate", "a fox", "-o", "a.mp4", "--model", "movie-gen-upsampler")
    assert answer.code == 2
    assert "use `kinema upsample`" in answer.err


def test_info_names_its_command(kinema):
    assert kinema("info", "movie-gen-upsampler", "--json").document["commands"] == ["upsample", "train"]
