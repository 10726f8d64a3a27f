"""What `kinema sound` refuses: one sentence, exit code 2, nothing written and nothing lost."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import kinema as package
from kinema import model_table
from kinema.media import Image, Video
from tests.cli.sound_clips import clip, tone


def test_nothing_is_overwritten_unless_asked(sound):
    clip()
    clip("a_sound.mp4", frames=3)
    before = Path("a_sound.mp4").read_bytes()
    answer = sound("a.mp4")
    assert (answer.code, "pass --overwrite" in answer.err) == (2, True)
    assert Path("a_sound.mp4").read_bytes() == before
    assert sound("a.mp4", "--overwrite").code == 0
    assert Video.read("a_sound.mp4").num_frames == 20


def mess() -> dict[str, bytes]:
    """A folder of wrong files, and what they are."""
    clip("a.mp4")
    whole = clip("heard.mp4", sound=tone(1.6))
    tone(1.0).write("tone.wav")
    Image(np.zeros((8, 8, 3), np.uint8)).write("still.png")
    Video(np.zeros((1, 32, 32, 3), np.uint8), 8.0).write("single.mp4")
    Video(np.zeros((2, 32, 32, 3), np.uint8), 100.0).write("blink.mp4")
    Path("text.mp4").write_text("no video")
    Path("empty.mp4").write_bytes(b"")
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, form in (("voice.m4a", "mp4"), ("hollow.mkv", "matroska")):
        with av.open(name, "w", format=form) as container:
            if name == "hollow.mkv":  # a video track that nothing is written to
                stream = container.add_stream("mpeg4", rate=10)
                stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            track = container.add_stream("aac", rate=48000)
            track.layout = "mono"
            frame = av.AudioFrame.from_ndarray(tone(1.0).samples, format="fltp", layout="mono")
            frame.sample_rate = 48000
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return {path.name: path.read_bytes() for path in Path().iterdir()}


BAD: list[tuple[list[str], str]] = [
    (["nowhere.mp4"], "nowhere.mp4 does not exist"),
    (["."], "is not a regular file"),
    (["text.mp4"], "not a media file by its content"),
    (["empty.mp4"], "is empty (0 bytes)"),
    (["cut.mp4"], "is cut off"),
    (["tone.wav"], "is a sound file, and a video was expected"),
    (["voice.m4a"], "has no video track"),
    (["hollow.mkv"], "has no frames in its video track"),
    (["still.png"], "shows a single picture"),
    (["single.mp4"], "shows a single picture"),
    (["blink.mp4"], "lasts 0.020 s, and sound is made for clips of 0.04 to 600 s"),
    (["a.mp4", "-o", "b.wav"], "ends in .mp4"),
    (["a.mp4", "-o", "a.mp4", "--overwrite"], "is the clip itself"),
    (["a.mp4", "-o", "heard.mp4"], "pass --overwrite"),
    (["a.mp4", "--prompt", "a man talks"], "asks for speech ('talks') and Movie Gen Audio makes no speech"),
    (["a.mp4", "--prompt", "a woman sings"], "asks for song ('sings')"),
    (["a.mp4", "--music", "a pop song"], "asks for song ('song')"),
    (["a.mp4", "--prompt", "a" * 2001], "2001 characters"),
    (["a.mp4", "--prompt", "waves\x07"], "U+0007"),
    (["a.mp4", "--quality", "11"], "quality is 11.0 and must lie between 1 and 10"),
    (["a.mp4", "--steps", "0"], "--steps is 0"),
    (["a.mp4", "--seed", "-1"], "--seed is -1"),
    (["a.mp4", "--guidance-scale", "nan"], "--guidance-scale is nan"),
    (["heard.mp4", "--infill", "1"], "write A:B in seconds"),
    (["heard.mp4", "--infill", "a:b"], "write A:B in seconds"),
    (["heard.mp4", "--infill", "1:1"], "--infill 1:1 has no length"),
    (["heard.mp4", "--infill", "1:0.5"], "does not run forward"),
    (["heard.mp4", "--infill", "-1:1"], "does not run forward"),
    (["heard.mp4", "--infill", "nan:1"], "does not run forward"),
    (["heard.mp4", "--infill", "1:2"], "--infill ends at 2 s and 'heard.mp4' at 1.600 s"),
    (["a.mp4", "--infill", "0:1"], "has no sound, and --infill keeps what is there"),
    (["heard.mp4", "--extend", "0"], "--extend is 0 and must be more than 0"),
    (["heard.mp4", "--extend", "-2"], "--extend is -2 and must be more than 0"),
    (["heard.mp4", "--extend", "inf"], "--extend is inf"),
    (["heard.mp4", "--extend", "599"], "together at most 600"),
    (["a.mp4", "--extend", "1"], "has no sound, and --extend keeps what is there"),
    (["heard.mp4", "--extend", "1", "--infill", "0:1"], "were both given"),
    (["a.mp4", "--candidates", "0"], "--candidates is 0 and must lie between 1 and 64"),
    (["heard.mp4", "--extend", "1", "--candidates", "2"], "leave out --extend, or --candidates"),
    (["heard.mp4", "--infill", "0:1", "--candidates", "2"], "leave out --infill, or --candidates"),
    (["a.mp4", "--device", "tpu"], "is not a device"),
]  # fmt: skip


def test_what_is_wrong_is_one_sentence_and_nothing_is_loaded_or_written(kinema, sound_weights, monkeypatch):
    def refuse(*_):
        raise AssertionError("the model was opened although the input is wrong")

    monkeypatch.setattr("kinema.cli.sound.open_sound", refuse)
    before = mess()
    for words, sentence in BAD:
        answer = kinema("sound", *words, "--weights", str(sound_weights))
        assert (answer.code, answer.out) == (2, ""), words
        assert sentence in answer.err
        assert answer.err.startswith("kinema: ")
        assert answer.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("nano", [True, False])
def test_weights_that_are_not_there_or_of_another_model(kinema, monkeypatch, tmp_path, nano):
    clip()
    monkeypatch.setattr(model_table, "PACKAGE", tmp_path)
    if nano:
        answer = kinema("sound", "a.mp4")
        assert "lacks the nano weights of movie-gen-audio-nano" in answer.err
        assert "(nano weights are not in this copy)" in kinema("models").out.split("movie-gen-audio-nano")[1]
    else:
        video = Path(package.__file__).parent / "systems/movie_gen/upsampler/nano.safetensors"
        answer = kinema("sound", "a.mp4", "--weights", str(video))
        assert "does not describe a Movie Gen Audio model" in answer.err
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert not Path("a_sound.mp4").exists()
