"""Files as the world has them: each is read rightly, with a note of what was done, or refused in one sentence."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest
import soundfile

from kinema.errors import UserError
from kinema.media import Image, Sound, Video, read_provenance

RED, BLUE, WHITE = (220, 30, 30), (30, 40, 210), (255, 255, 255)


def halves(height=32, width=48):
    """Left half red, right half blue, a white bar along the top: it shows every turn and every flip."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:, : width // 2], frame[:, width // 2 :] = RED, BLUE
    frame[: height // 4] = WHITE
    return frame


def encode(path, count=12, codec="libx264", pix_fmt="yuv420p", times=None, rotation=0, sound=None, form=None):
    """A video by PyAV directly, so that kinema reads what others write. `times` are in milliseconds."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 64, pix_fmt
        stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {"crf": "8"}
        if rotation:
            stream.set_display_rotation(rotation)
        if sound is not None:
            layout, samples = sound
            track = container.add_stream("aac", rate=48000)
            track.layout = layout
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            frame = halves(64, 128)
            frame[40:, : 4 * (index + 1)] = WHITE  # the clock: four more columns a frame
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts, picture.time_base = (index, Fraction(1, 10))
            if times is not None:
                picture.pts, picture.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound is not None:
            for start in range(0, samples.shape[1], 1024):
                block = np.ascontiguousarray(samples[:, start : start + 1024])
                piece = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                piece.sample_rate, piece.pts, piece.time_base = 48000, start, Fraction(1, 48000)
                container.mux(track.encode(piece))
            container.mux(track.encode())


def clock(frame):
    """Which frame of `encode` this is, read from its white columns."""
    return round(float((frame[52].min(axis=1) > 128).sum()) / 4) - 1


def near(pixel, colour, limit=40):
    return np.abs(np.asarray(pixel, int) - colour).max() <= limit


# -- pictures ---------------------------------------------------------------------------------------------


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags


def turned(orientation):
    """The stored picture that EXIF `orientation` turns into `halves()`."""
    steps = {1: 0, 3: PIL.Image.ROTATE_180, 6: PIL.Image.ROTATE_90, 8: PIL.Image.ROTATE_270, 5: 5, 2: 0}
    image = PIL.Image.fromarray(halves())
    if orientation == 2:
        return image.transpose(PIL.Image.FLIP_LEFT_RIGHT)
    if orientation == 5:
        return image.transpose(PIL.Image.TRANSPOSE)
    return image.transpose(steps[orientation]) if orientation != 1 else image


def save_palette_with_alpha(path):
    image = PIL.Image.fromarray(halves()).quantize(8)
    image.save(path, transparency=image.getpixel((2, 20)))  # the red becomes transparent


def save_gif(path):
    black = PIL.Image.new("RGB", (48, 32))
    PIL.Image.fromarray(halves()).save(path, save_all=True, append_images=[black])


def noise():
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))


def layered():
    alpha = np.full((32, 48, 1), 255, np.uint8)
    alpha[8:, :24] = 0
    return PIL.Image.fromarray(np.concatenate([halves(), alpha], 2))


def grey16():
    return PIL.Image.fromarray(np.where(halves()[..., 0] > 128, 65535, 32896).astype(np.uint16))


PICTURES = {
    "cmyk.jpg": (lambda p: PIL.Image.fromarray(halves()).convert("CMYK").save(p, quality=95), RED, "CMYK"),
    "exif2.jpg": (lambda p: turned(2).save(p, exif=exif(2), quality=95), RED, "upright"),
    "exif3.jpg": (lambda p: turned(3).save(p, exif=exif(3), quality=95), RED, "upright"),
    "exif5.jpg": (lambda p: turned(5).save(p, exif=exif(5), quality=95), RED, "upright"),
    "exif6.jpg": (lambda p: turned(6).save(p, exif=exif(6), quality=95), RED, "upright"),
    "exif8.png": (lambda p: turned(8).save(p, exif=exif(8)), RED, "upright"),
    "palette.png": (lambda p: PIL.Image.fromarray(halves()).quantize(8).save(p), RED, None),
    "palette_alpha.png": (save_palette_with_alpha, WHITE, "white"),
    "rgba.png": (lambda p: layered().save(p), WHITE, "white"),
    "rgba.webp": (lambda p: layered().save(p, lossless=True), WHITE, "white"),
    "opaque_rgba.png": (lambda p: PIL.Image.fromarray(halves()).convert("RGBA").save(p), RED, None),
    "grey16.png": (lambda p: grey16().save(p), WHITE, "16 bits"),
    "grey16.tiff": (lambda p: grey16().save(p), WHITE, "16 bits"),
    "one_bit.png": (lambda p: PIL.Image.new("1", (48, 32), 1).save(p), WHITE, None),
    "animated.gif": (save_gif, RED, "first"),
    "really_a.jpg.png": (lambda p: PIL.Image.fromarray(halves()).save(p, "JPEG", quality=95), RED, None),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_odd_picture(tmp_path, name):
    make, lower_left, note = PICTURES[name]
    make(tmp_path / name)
    image = Image.read(tmp_path / name)
    assert image.pixels.shape == (32, 48, 3)
    assert image.pixels.dtype == np.uint8
    assert near(image.pixels[20, 4], lower_left)
    assert near(image.pixels[2, 24], WHITE)
    notes = " ".join(image.metadata.get("notes", ()))
    assert note in notes if note else notes == ""
    if name.startswith("grey16"):
        assert near(image.pixels[20, 40], (128, 128, 128), 1)


def png_header_of(width, height):
    """A PNG of a few bytes that claims to be huge."""
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


NO_PICTURE = {
    "empty.png": (b"", "empty"),
    "text.png": (b"hello " * 100, "not a media file"),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a media file"),
    "bomb.png": (png_header_of(60_000, 60_000), "at most 100000000"),
    "large.png": (png_header_of(12_000, 10_000), "at most 100000000"),
    "cut.png": (saved(noise(), "PNG")[:5000], "cut off or damaged"),
    "cut.jpg": (saved(PIL.Image.fromarray(halves(256, 256)), "JPEG")[:900], "cut off or damaged"),
    "float.tiff": (saved(PIL.Image.new("F", (8, 8)), "TIFF"), "floating-point"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 100, "HEIC"),
    "really_a.wav.png": (b"RIFF\0\0\0\0WAVEfmt ", "is a sound file"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_PICTURE)
def test_refused_picture(tmp_path, name):
    data, says = NO_PICTURE[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=says) as caught:
        Image.read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


# -- videos -----------------------------------------------------------------------------------------------


def silence(channels, seconds=1.2):
    return np.zeros((channels, round(48000 * seconds)), np.float32)


def surround():
    samples = silence(6)
    samples[2] = 0.5 * np.sin(np.arange(samples.shape[1]) * 0.05)  # only the centre speaks
    return samples


VIDEOS = {
    "plain.mp4": ({}, None),
    "ten_bits.mp4": ({"pix_fmt": "yuv420p10le"}, "10 bits"),
    "hevc_ten_bits.mp4": ({"codec": "libx265", "pix_fmt": "yuv420p10le"}, "10 bits"),
    "full_colour.mp4": ({"pix_fmt": "yuv444p"}, None),
    "matroska.mkv": ({}, None),
    "webm.webm": ({"codec": "libvpx-vp9"}, None),
    "old.avi": ({"codec": "mpeg4"}, None),
    "stream.ts": ({}, None),
    "really_a.mkv.mp4": ({"form": "matroska"}, None),
    "silent_track.mp4": ({"sound": ("stereo", silence(2))}, None),
    "surround.mp4": ({"sound": ("5.1", surround())}, "mixed down to stereo"),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_odd_video(tmp_path, name):
    options, note = VIDEOS[name]
    encode(tmp_path / name, **options)
    video = Video.read(tmp_path / name)
    assert video.frames.shape == (12, 64, 128, 3)
    assert video.fps == pytest.approx(10, rel=0.01)
    assert [clock(frame) for frame in video.frames[:10]] == list(range(10))
    assert near(video.frames[0, 24, 8], RED, 60)
    assert near(video.frames[0, 50, 100], BLUE, 60)
    notes = " ".join(video.metadata.get("notes", ()))
    assert note in notes if note else notes == ""
    if "sound" in options:
        assert video.sound.samples.shape == (2, 57600)
        loud = np.percentile(np.abs(video.sound.samples), 98, axis=1)
        assert np.allclose(loud, 0.146, atol=0.02) if name == "surround.mp4" else loud.max() < 1e-3
    else:
        assert video.sound is None
    assert Video.read(tmp_path / name, max_frames=5).frames.shape[0] == 5


@pytest.mark.parametrize(("rotation", "shape"), [(90, (128, 64)), (180, (64, 128)), (-90, (128, 64))])
def test_rotated_video_is_upright(tmp_path, rotation, shape):
    encode(tmp_path / "a.mp4", rotation=rotation)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        turn = frame.rotation  # degrees counterclockwise, by FFmpeg's own reading
        stored = frame.to_ndarray(format="rgb24")
    video = Video.read(tmp_path / "a.mp4")
    assert video.frames.shape[1:3] == shape
    wanted = np.rot90(stored, round(turn / 90))
    assert np.abs(video.frames[0].astype(int) - wanted).mean() < 25  # colour matrices may differ a little
    assert "upright" in video.metadata["notes"][0]


def test_variable_frame_rate_goes_on_a_grid_by_time(tmp_path):
    times = [0, 100, 200, 300, 700, 800, 900, 1000, 1100, 1200]  # a pause after the fourth frame
    for name in ("a.mp4", "a.mkv"):
        encode(tmp_path / name, count=10, times=times)
        video = Video.read(tmp_path / name)
        assert "variable frame rate" in video.metadata["notes"][0]
        assert video.seconds == pytest.approx(1.3, abs=0.15)
        for index, frame in enumerate(video.frames):
            shown = max(n for n, time in enumerate(times) if time <= 1000 * index / video.fps + 1)
            assert clock(frame) == shown


def test_animated_webp_with_uneven_times_and_alpha(tmp_path):
    pictures = [layered(), PIL.Image.fromarray(halves()).convert("RGBA"), layered()]
    pictures[0].save(
        tmp_path / "a.webp",
        save_all=True,
        append_images=pictures[1:],
        duration=[100, 300, 200],
        lossless=True,
    )
    video = Video.read(tmp_path / "a.webp")
    assert video.fps == pytest.approx(5.0)
    assert video.num_frames == 3
    assert [near(frame[20, 4], WHITE) for frame in video.frames] == [True, False, True]
    assert Video.read(tmp_path / "a.webp", max_frames=1).num_frames == 1
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=100)
    assert Video.read(tmp_path / "a.png").frames.shape == (3, 32, 48, 3)
    PIL.Image.fromarray(halves()).save(tmp_path / "still.png")
    assert Video.read(tmp_path / "still.png").frames.shape == (1, 32, 48, 3)


def whole(tmp_path, **options):
    encode(tmp_path / "whole.bin", form=options.pop("form", "mp4"), count=options.pop("count", 12), **options)
    return (tmp_path / "whole.bin").read_bytes()


def no_frames(tmp_path):
    with av.open(str(tmp_path / "n.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.start_encoding()
    return (tmp_path / "n.mp4").read_bytes()


def only_sound(tmp_path):
    with av.open(str(tmp_path / "s.mp4"), "w") as container:
        track = container.add_stream("aac", rate=48000)
        track.layout = "mono"
        piece = av.AudioFrame.from_ndarray(silence(1)[:, :1024], format="fltp", layout="mono")
        piece.sample_rate, piece.pts, piece.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(track.encode(piece))
        container.mux(track.encode())
    return (tmp_path / "s.mp4").read_bytes()


def damaged(tmp_path):
    data = bytearray(whole(tmp_path, form="matroska"))
    data[60 : len(data) // 2] = bytes(len(data) // 2 - 60)
    return bytes(data)


REFUSED = {
    "cut_tail.mp4": (lambda p: whole(p)[:-100], "cut off"),
    "cut_head.mp4": (lambda p: whole(p)[:200], "cut off"),
    "cut.mkv": (lambda p: whole(p, form="matroska", count=60)[:2500], "cut off|damaged"),
    "damaged.mkv": (damaged, "cut off|damaged|no video track|no frames"),
    "text.mp4": (lambda p: b"this is only a text\n" * 50, "not a media file"),
    "playlist.mp4": (lambda p: b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not a media file"),
    "concat.mp4": (lambda p: b"ffconcat version 1.0\nfile /etc/passwd\n", "not a media file"),
    "empty.mp4": (lambda p: b"", "empty"),
    "zero_frames.mp4": (no_frames, "no video track|no frames|damaged"),
    "only_sound.mp4": (only_sound, "no video track"),
    "noise.mp4": (lambda p: b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(3000), "cut off|damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_video(tmp_path, name):
    make, says = REFUSED[name]
    (tmp_path / name).write_bytes(make(tmp_path))
    with pytest.raises(UserError, match=says) as caught:
        Video.read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_tags_in_another_encoding_do_not_matter(tmp_path):
    Video(halves()[None], 8.0, metadata={"kinema": {"prompt": "xyzzy"}}).write(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    at = data.index(b"xyzzy")
    (tmp_path / "b.mp4").write_bytes(data[:at] + b"\xe9\xff\xfe\xd8\xe9" + data[at + 5 :])
    assert Video.read(tmp_path / "b.mp4").num_frames == 1
    assert read_provenance(tmp_path / "b.mp4").prompt != "xyzzy"


def test_a_clip_over_the_memory_limit_names_the_way_out(tmp_path):
    encode(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="pass max_frames"):
        Video.read(tmp_path / "a.mp4", max_bytes=5 * 64 * 128 * 3)
    assert Video.read(tmp_path / "a.mp4", max_frames=5, max_bytes=6 * 64 * 128 * 3).num_frames == 5
    with pytest.raises(UserError, match="1 or more"):
        Video.read(tmp_path / "a.mp4", max_frames=0)


# -- sound ------------------------------------------------------------------------------------------------


def test_odd_sounds(tmp_path):
    soundfile.write(tmp_path / "six.wav", surround().T, 48000, subtype="FLOAT")
    six = Sound.read(tmp_path / "six.wav")
    assert six.samples.shape == (2, 57600)
    assert np.abs(six.samples).max() == pytest.approx(0.5 * 0.7071 / 2.4142, abs=1e-3)
    soundfile.write(tmp_path / "a.ogg", silence(1).T, 48000)
    assert Sound.read(tmp_path / "a.ogg").channels == 1
    loud = np.full((100, 1), 3.0, np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, 8000, subtype="FLOAT")
    assert Sound.read(tmp_path / "loud.wav").samples.max() == 1.0


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("none.wav", lambda p: soundfile.write(p, silence(1, 0).T, 48000), "no samples"),
        ("text.wav", lambda p: p.write_bytes(b"hello"), "not a media file"),
        ("picture.wav", lambda p: PIL.Image.new("RGB", (4, 4)).save(p, "PNG"), "is an image"),
        ("mute.mp4", lambda p: encode(p, count=2), "no sound track"),
        ("header.wav", lambda p: p.write_bytes(b"RIFF\x24\0\0\0WAVEfmt "), "cut off"),
    ],
)
def test_refused_sound(tmp_path, name, make, says):
    make(tmp_path / name)
    with pytest.raises(UserError, match=says):
        Sound.read(tmp_path / name)


def test_cut_wav_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", silence(1).T, 48000, subtype="PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cut off"):
        Sound.read(tmp_path / "cut.wav")


@pytest.mark.parametrize("read", [Image.read, Video.read, Sound.read, read_provenance])
def test_missing_files_and_folders(tmp_path, read):
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "nothing.mp4")
    with pytest.raises(UserError, match="not a regular file"):
        read(tmp_path)
    with pytest.raises(UserError, match="cannot be opened"):
        read("a\0b.mp4")
