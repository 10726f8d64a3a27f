"""Another sound under a file's own picture: copied packet for packet where MP4 can hold it, else encoded again."""

from fractions import Fraction

import av
import numpy as np
import pytest

from kinema.errors import UserError
from kinema.media import Provenance, Sound, Video, read_provenance
from kinema.media.soundtrack import write_soundtrack

SOUND = Sound((0.3 * np.sin(np.arange(72000) * 0.05)).astype(np.float32)[None], 48000)


def encode(path, codec="libx264", form=None, times=None, rotation=0, options=None):
    """15 pictures at 10 a second, or at `times` in milliseconds."""
    pixels = np.random.default_rng(0).integers(0, 255, (15, 48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = options or {}
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(pixels):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def packets(path):
    with av.open(str(path)) as container:
        found = [
            (p.pts * p.time_base, bytes(p)) for p in container.demux(container.streams.video[0]) if p.size
        ]
    return [(round(1000 * (time - min(found)[0])), content) for time, content in found]


UNEVEN = [0, 40, 200, 210, 400, 410, 700, 710, 715, 900, 1000, 1100, 1200, 1300, 1400]
LATE = [time + 500 for time in UNEVEN]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {}),
        ("b.mov", {}),
        ("c.mkv", {}),  # whose first packets have no decoding time
        ("d.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}),
        ("e.mp4", {"codec": "mpeg4"}),
        ("turned.mp4", {"rotation": 90}),
        ("uneven.mp4", {"times": UNEVEN}),
        ("late.mkv", {"times": LATE}),
    ],
)
def test_the_picture_is_copied_bit_for_bit(tmp_path, name, settings):
    source, target = tmp_path / name, tmp_path / "new.mp4"
    encode(source, **settings)
    before = source.read_bytes()
    assert write_soundtrack(source, target, SOUND)
    assert packets(source) == packets(target)
    one, two = Video.read(source), Video.read(target)
    if "late" not in name:  # the rate of an uneven clip stands in the header, which MP4 has not
        assert np.array_equal(one.frames, two.frames)
        assert one.fps == two.fps
    assert (
        np.abs(two.sound.samples - SOUND.samples[:, : two.sound.samples.shape[1]])[:, 4000:70000].max() < 0.02
    )
    assert two.sound.seconds == pytest.approx(1.5, abs=0.002)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "settings"),
    [("a.webm", {"codec": "libvpx"}), ("b.avi", {"codec": "mpeg4"}), ("c.ts", {"form": "mpegts"})],
)
def test_what_mp4_cannot_hold_is_encoded_again(tmp_path, name, settings):
    source = tmp_path / name
    encode(source, **settings)
    assert not write_soundtrack(source, tmp_path / "new.mp4", SOUND)
    one, two = Video.read(source), Video.read(tmp_path / "new.mp4")
    assert one.frames.shape == two.frames.shape
    assert one.fps == pytest.approx(two.fps, rel=1e-6)
    assert np.abs(one.frames.astype(int) - two.frames).mean() < 8


def test_odd_sizes_provenance_and_an_old_track(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 33, 47, 3), dtype=np.uint8)
    told = Provenance(prompt="a fox", seed=3, model="m")
    quiet = Sound(np.zeros((2, 24000), np.float32), 48000)
    Video(pixels, 12.0, quiet, {"kinema": told}).write(tmp_path / "a.mp4")
    assert write_soundtrack(tmp_path / "a.mp4", tmp_path / "b.mp4", SOUND, {"kinema": told})
    assert Video.read(tmp_path / "b.mp4").frames.shape == (6, 33, 47, 3)
    assert read_provenance(tmp_path / "b.mp4") == told
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert len(container.streams.audio) == len(container.streams.video) == 1
        assert container.streams.audio[0].layout.name == "mono"
    assert write_soundtrack(tmp_path / "a.mp4", tmp_path / "c.mp4", SOUND)
    assert read_provenance(tmp_path / "c.mp4") is None


def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    encode(tmp_path / "a.mp4")
    (tmp_path / "there.mp4").write_bytes(b"precious")
    SOUND.write(tmp_path / "a.wav")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    empty = Sound(np.zeros((1, 0), np.float32), 48000)
    for source, target, sound, said in (
        ("a.mp4", "there.mp4", SOUND, "exists already"),
        ("a.mp4", "a.mp4", SOUND, "is the clip itself"),
        ("a.mp4", "b.mkv", SOUND, "has the extension .mkv"),
        ("a.mp4", "b.mp4", empty, "with some samples"),
        ("a.wav", "b.mp4", SOUND, "a video was expected"),
        ("none.mp4", "b.mp4", SOUND, "does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            write_soundtrack(tmp_path / source, tmp_path / target, sound, overwrite=target == "a.mp4")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_clip_is_read_smaller_for_those_who_only_look(tmp_path):
    pixels = np.zeros((4, 90, 160, 3), np.uint8)
    pixels[:, :, 80:] = 200
    pixels[:, 45:, 80:] = np.arange(4)[:, None, None, None] + 198  # no two alike
    Video(pixels, 8.0).write(tmp_path / "a.mp4")
    Video(pixels, 10.0).write(tmp_path / "a.gif")
    for name in ("a.mp4", "a.gif"):
        small = Video.read(tmp_path / name, max_side=32).frames
        assert small.shape == (4, 18, 32, 3)
        assert np.abs(small[:, :, [2, 29]].mean((0, 1, 3)) - [0, 200]).max() < 6
        assert Video.read(tmp_path / name, max_side=160).frames.shape == (4, 90, 160, 3)
    # what is kept counts, not what is decoded
    assert Video.read(tmp_path / "a.mp4", max_side=32, max_bytes=4 * 32 * 32 * 3).num_frames == 4
    with pytest.raises(UserError, match="max_side is 0"):
        Video.read(tmp_path / "a.mp4", max_side=0)
