"""What kinema writes, kinema reads back: pixels, sound, time, size and provenance, in every format."""

import subprocess
import sys

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.media import Image, Provenance, Sound, Video, contact_sheet, read_provenance, to_tensor, to_uint8

MADE = Provenance(
    prompt='a red fox «jumps» 狐 over/the "fence" & <b>',
    seed=42,
    model="movie_gen/video/nano",
    weights_hash="ab" * 32,
    settings={"steps": 20, "solver": "euler", "guidance_scale": 7.0, "width": 64, "height": 64},
)


def clip(count=16, height=64, width=64):
    """Coloured squares that move: sharp edges and saturated colours, which chroma subsampling likes least."""
    frames = np.full((count, height, width, 3), (235, 240, 245), np.uint8)
    for t in range(count):
        frames[t, height // 8 : height // 2, t : t + width // 3] = (220, 40, 30)
        frames[t, height // 2 : 7 * height // 8, width // 2 : width // 2 + 8 + t] = (20, 90, 200)
    return frames


def tone(seconds=1.0, rate=48000, channels=1, hertz=440.0):
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * hertz * time)
    return Sound(np.repeat(wave[None], channels, 0).astype(np.float32), rate)


def psnr(a, b):
    return 10 * np.log10(255**2 / (1e-9 + np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize(
    "shape", [(16, 64, 64), (1, 64, 64), (5, 37, 53), (3, 2, 2), (4, 1, 1), (2, 480, 853)]
)
@pytest.mark.parametrize("fps", [8.0, 29.97])
def test_mp4_gives_back_frames_rate_and_size(tmp_path, shape, fps):
    frames = clip(*shape)
    Video(frames, fps, metadata={"kinema": MADE}).write(tmp_path / "a.mp4")
    again = Video.read(tmp_path / "a.mp4")
    assert again.frames.shape == frames.shape
    assert again.fps == pytest.approx(fps, rel=1e-3)
    assert again.sound is None
    assert again.metadata["kinema"] == MADE
    if shape[1] >= 37:
        assert psnr(again.frames, frames) > 30


def test_mp4_colours_stay(tmp_path):
    colours = [(200, 30, 30), (30, 180, 40), (30, 40, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
    frames = np.stack([np.full((64, 64, 3), colour, np.uint8) for colour in colours])
    Video(frames, 8.0).write(tmp_path / "a.mp4")
    difference = Video.read(tmp_path / "a.mp4").frames.astype(int) - frames
    assert np.abs(difference).max() <= 4


def test_mp4_is_playable_everywhere_and_deterministic(tmp_path):
    import av

    video = Video(clip(), 8.0, tone(2.0, 44100), {"kinema": MADE})
    video.write(tmp_path / "a.mp4")
    video.write(tmp_path / "b.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data == (tmp_path / "b.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, picture.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (sound.codec_context.name, sound.rate) == ("aac", 48000)
        assert '"kinema"' in container.metadata["comment"]


def test_sound_in_mp4_keeps_length_pitch_and_place(tmp_path):
    for rate, channels in ((48000, 1), (44100, 2), (16000, 1)):
        burst = tone(2.0, rate, channels)
        burst.samples[:, : rate // 2] = 0  # the sound begins at half a second
        path = tmp_path / f"{rate}.mp4"
        Video(clip(), 8.0, burst).write(path)
        sound = Video.read(path).sound
        assert sound.rate == 48000
        assert sound.samples.shape == (channels, 96000)
        onset = np.argmax(np.abs(sound.samples[0]) > 0.1) / 48000
        assert onset == pytest.approx(0.5, abs=0.005)
        spectrum = np.abs(np.fft.rfft(sound.samples[0, 36000:84000]))
        assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert Sound.read(path).samples.shape == (1, 96000)
    assert Video.read(path, max_frames=4).sound.samples.shape == (1, 24000)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("prompt", ["rain", "long " * 2000])
def test_sound_files(tmp_path, suffix, prompt):
    made = Provenance(prompt, 1, "movie_gen/audio/nano")
    sound = Sound(tone(0.5, 44100, 2).samples * 1.9, 44100, {"kinema": made})
    sound.write(tmp_path / f"a{suffix}")
    again = Sound.read(tmp_path / f"a{suffix}")
    assert again.rate == 44100
    np.testing.assert_allclose(again.samples, np.clip(sound.samples, -1, 1), atol=1e-4)
    assert again.metadata["kinema"] == made == read_provenance(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_images(tmp_path, suffix):
    pixels = clip(1, 61, 47)[0]
    Image(pixels, {"kinema": MADE}).write(tmp_path / f"a{suffix}")
    again = Image.read(tmp_path / f"a{suffix}")
    assert again.pixels.shape == pixels.shape
    assert np.array_equal(again.pixels, pixels) if suffix == ".png" else psnr(again.pixels, pixels) > 25
    assert again.metadata["kinema"] == MADE == read_provenance(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_animations(tmp_path, suffix):
    frames = clip(7, 33, 20)
    Video(frames, 12.5, metadata={"kinema": MADE}).write(tmp_path / f"a{suffix}")
    again = Video.read(tmp_path / f"a{suffix}")
    assert again.frames.shape == frames.shape
    assert again.fps == pytest.approx(12.5)
    assert psnr(again.frames, frames) > 20
    assert again.metadata["kinema"] == MADE == read_provenance(tmp_path / f"a{suffix}")


def test_provenance_survives_a_wiped_comment(tmp_path):
    Video(clip(2), 8.0, metadata={"kinema": MADE}).write(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    at = data.index(b"udta")
    (tmp_path / "wiped.mp4").write_bytes(data[:at] + b"free" + data[at + 4 :])
    assert read_provenance(tmp_path / "wiped.mp4") == MADE
    assert Video.read(tmp_path / "wiped.mp4").metadata["kinema"] == MADE


def test_png_carries_the_communitys_text(tmp_path):
    import PIL.Image

    Image(clip(1)[0], {"kinema": MADE}).write(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as image:
        text = image.info["parameters"]
    assert text.startswith(
        MADE.prompt + "\nSteps: 20, Sampler: euler, CFG scale: 7.0, Seed: 42, Size: 64x64, "
    )


def test_provenance_json_holds_no_private_path(tmp_path):
    settings = {
        "out": tmp_path / "deep" / "x.mp4",
        "weights": "/home/someone/w.safetensors",
        "list": ["~/a/b"],
    }
    made = Provenance("a /home/ page", 3, "/home/someone/models/fox", settings=settings)
    text = made.to_json()
    assert "someone" not in text
    assert str(tmp_path) not in text
    again = Provenance.from_json(text)
    assert again.model == "fox"
    assert again.settings == {"out": "x.mp4", "weights": "w.safetensors", "list": ["b"]}
    assert again.prompt == made.prompt
    Image(clip(1)[0], {"kinema": made}).write(tmp_path / "a.png")
    assert b"someone" not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Provenance(settings={"x": float("nan")}), "JSON"),
        (Provenance(settings={"x": object()}), "JSON"),
        (Provenance("x" * 300_000), "bytes"),
        ({"seed": "seven"}, "seed"),
        ("[1]", "JSON object"),
        (7, "Provenance"),
    ],
)
def test_bad_provenance_is_a_sentence(tmp_path, value, says):
    with pytest.raises(UserError, match=says):
        Image(clip(1)[0], {"kinema": value}).write(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_files_without_or_with_foreign_metadata_have_no_provenance(tmp_path):
    import PIL.Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("prompt", '{"1": {"seed": 2}}')
    info.add_text("kinema", "{not json")
    PIL.Image.fromarray(clip(1)[0]).save(tmp_path / "a.png", pnginfo=info)
    Video(clip(2, 9, 9), 8.0).write(tmp_path / "a.mp4")
    tone(0.1).write(tmp_path / "a.wav")
    assert [read_provenance(tmp_path / name) for name in ("a.png", "a.mp4", "a.wav")] == [None] * 3


def test_tensors_go_there_and_back():
    import torch

    frames = clip(3, 8, 10)
    tensor = to_tensor(frames)
    assert (tuple(tensor.shape), tensor.dtype) == ((3, 3, 8, 10), torch.float32)
    assert tensor.abs().max() <= 1
    assert np.array_equal(to_uint8(tensor), frames)
    assert to_uint8(torch.full((3, 1, 2, 2), 7.0)).max() == 255
    with pytest.raises(UserError, match="finite"):
        to_uint8(torch.full((3, 1, 2, 2), float("nan")))
    with pytest.raises(UserError, match="expected"):
        to_tensor(frames[0])


def test_importing_media_needs_no_torch():
    code = "import sys, kinema.media; assert not {'torch', 'av', 'soundfile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_contact_sheet_shows_every_strip_and_caption():
    videos = [Video(clip(16), 8.0), Video(clip(9, 48, 96), 8.0), Video(clip(1), 8.0)]
    captions = ["a red square slides to the right " * 12, "two", ""]
    sheet = contact_sheet(videos, captions, columns=2, frames=4, frame_height=64, title="Movie Gen, nano")
    plain = contact_sheet(videos, ["", "", ""], columns=2, frames=4, frame_height=64)
    assert sheet.height > plain.height
    red = (np.abs(sheet.pixels.astype(int) - (220, 40, 30)).sum(2) < 30).sum(1) > 0
    assert np.diff(red.astype(int)).clip(min=0).sum() == 2  # two rows of strips
    assert sheet.width == 2 * round(18 * 1.8) + (4 * 66 - 2) + (4 * 130 - 2) + round(18 * 1.5)
    with pytest.raises(UserError, match="one caption"):
        contact_sheet(videos, captions[:1], columns=2)
