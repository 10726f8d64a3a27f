"""Writing: nothing is overwritten unasked, nothing half-written stays, and every hindrance is one sentence."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.media import Image, Sound, Video, files

FRAMES = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
THINGS = {
    "a.mp4": Video(FRAMES, 8.0),
    "a.webp": Video(FRAMES, 8.0),
    "a.png": Image(FRAMES[0]),
    "a.wav": Sound(np.zeros((1, 800), np.float32), 8000),
}


@pytest.fixture(params=THINGS)
def name(request):
    return request.param


def test_an_existing_file_is_kept_unless_told(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="overwrite=True"):
        THINGS[name].write(path)
    assert path.read_bytes() == b"mine"
    THINGS[name].write(path, overwrite=True)
    assert path.stat().st_size > 100
    assert os.listdir(tmp_path) == [name]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_dangling_link_counts_as_existing(tmp_path, name):
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="exists already"):
        THINGS[name].write(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_missing_folder_folder_as_name_and_wrong_extension(tmp_path, name):
    with pytest.raises(UserError, match="does not exist: create it first"):
        THINGS[name].write(tmp_path / "none" / name)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="is a folder"):
        THINGS[name].write(tmp_path / name, overwrite=True)
    with pytest.raises(UserError, match=r"is written as|has \."):
        THINGS[name].write(tmp_path / "a.exe")
    with pytest.raises(UserError, match=r"\(none\)"):
        THINGS[name].write(tmp_path / "a")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.EACCES, "no permission to write"),
        (errno.EROFS, "read-only disk"),
        (errno.ENOSPC, "disk is full"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_system_errors_are_sentences(tmp_path, name, monkeypatch, code, says):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(UserError, match=says) as caught:
        THINGS[name].write(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_another_process_that_was_faster_keeps_its_file(tmp_path, name, monkeypatch):
    real = os.fsync

    def race(descriptor):
        (tmp_path / name).write_bytes(b"theirs")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", race)
    with pytest.raises(UserError, match="exists already"):
        THINGS[name].write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == [name]


def test_a_disk_that_fills_up_while_a_video_is_written_leaves_nothing(tmp_path):
    code = """
import resource, sys
import numpy as np
from kinema.media import Video
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
frames = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), np.uint8)
try:
    Video(frames, 8.0).write(sys.argv[1])
except ValueError as error:
    assert type(error).__name__ == "UserError", error
    sys.exit(str(error))
"""
    path = tmp_path / "a.mp4"
    result = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "cannot be written" in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_video_that_lost_frames_is_not_published(tmp_path, monkeypatch):
    from kinema.media import encode

    verify = encode._verify
    monkeypatch.setattr(
        encode, "_verify", lambda path, count, size, **more: verify(path, count + 1, size, **more)
    )
    with pytest.raises(UserError, match="8 of 9 frames"):
        Video(FRAMES, 8.0).write(tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Video(FRAMES[0], 8.0), "expected"),
        (lambda: Video(FRAMES[:0], 8.0), "not empty"),
        (lambda: Video(FRAMES.astype(np.float32), 8.0), "uint8"),
        (lambda: Video(FRAMES, 0.0), "frame rate"),
        (lambda: Video(FRAMES, float("nan")), "frame rate"),
        (lambda: Image(FRAMES), "expected"),
        (lambda: Image(FRAMES[0, :0]), "not empty"),
        (lambda: Sound(np.zeros(8, np.float32), 8000), "expected"),
        (lambda: Sound(np.zeros((800, 1), np.float32), 8000), "800 channels"),
        (lambda: Sound(np.zeros((1, 8), np.float64), 8000), "float32"),
        (lambda: Sound(np.full((1, 8), np.nan, np.float32), 8000), "finite"),
        (lambda: Sound(np.zeros((1, 8), np.float32), 0), "sample rate"),
    ],
)
def test_wrong_arrays_are_refused_when_made(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_what_a_container_cannot_hold(tmp_path):
    sound = Sound(np.zeros((1, 800), np.float32), 8000)
    with pytest.raises(UserError, match="cannot hold sound"):
        Video(FRAMES, 8.0, sound).write(tmp_path / "a.gif")
    with pytest.raises(UserError, match="mono or stereo"):
        Video(FRAMES, 8.0, Sound(np.zeros((3, 800), np.float32), 8000)).write(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="crf"):
        Video(FRAMES, 8.0).write(tmp_path / "a.mp4", crf=99)
    with pytest.raises(UserError, match="WebP"):
        Image(np.zeros((1, 16384, 3), np.uint8)).write(tmp_path / "a.webp")
    assert os.listdir(tmp_path) == []
