"""Frames out of clips: time, size, crops, and what happens when files break. Batches are pure and resume exactly."""

import json

import numpy as np
import PIL.Image
import pytest
import torch

from kinema.data import ClipBatches, Limits, MediaDataset, open_dataset
from kinema.data.clips import fill, read_clip, resize_crop
from kinema.errors import UserError
from kinema.media import Image, Video

STEP = 6


def counting(count, height=32, width=48):
    """Frame n is grey of value 20 + STEP * n, so a frame tells its own number."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    return frames + (20 + STEP * np.arange(count, dtype=np.uint8))[:, None, None, None]


def numbers(frames):
    return [round((float(frame.mean()) - 20) / STEP) for frame in frames]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six clips of 30 frames at 10 a second and a picture, with captions."""
    folder = tmp_path_factory.mktemp("clips")
    for index in range(6):
        Video(counting(30), 10.0).write(folder / f"{index}.mp4")
        (folder / f"{index}.json").write_text(json.dumps({"captions": [f"{index} a", f"{index} b"]}))
    Image(counting(3)[2]).write(folder / "still.png")
    (folder / "still.txt").write_text("a still")
    return folder


def clip_of(path, **options):
    with open(path, "rb") as handle:
        return read_clip(handle, path.name, **{"num_frames": 8, "height": 32, "width": 48, **options})


def test_the_files_own_rate_gives_neighbouring_frames(root):
    starts = set()
    for seed in range(12):
        found = numbers(clip_of(root / "0.mp4", seed=seed))
        assert found == list(range(found[0], found[0] + 8))
        starts.add(found[0])
    assert len(starts) > 4
    assert max(starts) <= 22


@pytest.mark.parametrize(("fps", "stride"), [(5, 2), (10, 1), (2.5, 4)])
def test_another_rate_takes_frames_by_time(root, fps, stride):
    found = numbers(clip_of(root / "0.mp4", fps=fps, num_frames=6, seed=3))
    assert np.diff(found).tolist() == [stride] * 5


def test_a_higher_rate_repeats_frames(root):
    assert numbers(clip_of(root / "0.mp4", fps=20, num_frames=60)) == [n // 2 for n in range(60)]


def test_short_clips_hold_or_loop(root):
    assert numbers(clip_of(root / "0.mp4", num_frames=40)) == [*range(30), *[29] * 10]
    assert numbers(clip_of(root / "0.mp4", num_frames=40, short="loop")) == [*range(30), *range(10)]
    assert fill(2, 5, "loop") == [0, 1, 0, 1, 0]


def test_seeking_far_into_a_clip_finds_the_right_frame(tmp_path):
    """Key frames stand every two seconds; the crop begins between two of them."""
    Video(counting(38, 32, 32), 4.0).write(tmp_path / "long.mp4")
    for seed in range(8):
        found = numbers(clip_of(tmp_path / "long.mp4", num_frames=3, seed=seed))
        assert np.diff(found).tolist() == [1, 1]


def test_pictures_and_animations(root, tmp_path):
    assert numbers(clip_of(root / "still.png", num_frames=3)) == [2, 2, 2]
    Video(counting(6), 10.0).write(tmp_path / "a.webp")
    assert numbers(clip_of(tmp_path / "a.webp", num_frames=6)) == list(range(6))
    assert numbers(clip_of(tmp_path / "a.webp", num_frames=3, fps=5)) in ([0, 2, 4], [1, 3, 5])


def test_resize_covers_and_cuts_from_the_centre():
    frame = np.zeros((20, 60, 3), np.uint8)
    frame[:, :20], frame[:, 20:40], frame[:, 40:] = 250, 100, 250
    assert np.abs(resize_crop(frame, 20, 20).astype(int) - 100).max() == 0
    assert np.abs(resize_crop(frame, 10, 10)[:, 1:-1].astype(int) - 100).max() <= 3
    assert resize_crop(frame, 37, 5).shape == (37, 5, 3)
    assert resize_crop(frame.transpose(1, 0, 2), 8, 8).mean() == pytest.approx(100, abs=3)
    assert resize_crop(frame, 20, 60) is frame
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    smooth = resize_crop(np.repeat(fine[..., None], 3, 2).astype(np.uint8), 8, 8)
    assert np.abs(smooth.astype(int) - 127).max() <= 3  # antialiased: a checkerboard becomes grey


def test_limits_stop_a_costly_clip(root):
    with pytest.raises(UserError, match="more than 5 frames"):
        clip_of(root / "0.mp4", num_frames=8, limits=Limits(max_decoded=5))
    with pytest.raises(UserError, match="or -1 s"):
        clip_of(root / "0.mp4", limits=Limits(seconds=-1))
    with pytest.raises(UserError, match="positive"):
        clip_of(root / "0.mp4", num_frames=0)


def test_sample_is_pure_and_follows_its_seed(root):
    dataset = open_dataset(root)
    assert len(dataset) == 7
    first = [dataset.sample(1, 4, 16, 16, 10, seed) for seed in range(10)]
    again = [open_dataset(root).sample(1, 4, 16, 16, 10, seed) for seed in range(10)]
    assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(first, again))
    assert {text for _, text in first} == {"1 a", "1 b"}
    assert len({numbers(frames)[0] for frames, _ in first}) > 3
    with pytest.raises(UserError, match="expected 0 to 6"):
        dataset.sample(7, 4, 16, 16)


def broken_copy(root, tmp_path, bad):
    for path in root.iterdir():
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(data[: len(data) // 2] if path.name in bad else data)
    return tmp_path


def test_broken_clips_are_skipped_counted_and_named(root, tmp_path, caplog):
    dataset = open_dataset(broken_copy(root, tmp_path, {"1.mp4", "2.mp4"}), max_broken=0.5)
    frames, text = dataset.sample(1, 2, 16, 16)
    assert frames.shape == (2, 16, 16, 3)
    assert text.startswith("3")  # the next clip that can be decoded, with its own caption
    assert set(dataset.broken) == {"1.mp4", "2.mp4"}
    assert "cut off" in dataset.broken["1.mp4"]
    assert str(tmp_path) not in dataset.broken["1.mp4"]
    assert "skipped 1.mp4" in caplog.text
    assert dataset.scan() == dataset.broken


def test_too_many_broken_clips_stop_the_run(root, tmp_path):
    folder = broken_copy(root, tmp_path, {"1.mp4", "2.mp4"})
    with pytest.raises(UserError, match=r"1 of 7 clips are broken, more than max_broken=0\.01 .*1\.mp4: "):
        open_dataset(folder).scan()
    with pytest.raises(UserError, match="2 of 7"):
        open_dataset(folder, max_broken=0.2).scan()
    every = broken_copy(root, tmp_path, {path.name for path in root.iterdir() if path.suffix != ".json"})
    (every / "still.txt").write_text("x")
    with pytest.raises(UserError, match="none of the 7 clips"):
        open_dataset(every, max_broken=1.0).sample(0, 2, 16, 16)


def test_a_file_that_vanishes_later_is_a_broken_clip(root, tmp_path):
    dataset = open_dataset(broken_copy(root, tmp_path, set()), max_broken=0.5)
    (tmp_path / "0.mp4").unlink()
    assert dataset.sample(0, 2, 16, 16)[1].startswith("1")
    assert list(dataset.broken) == ["0.mp4"]


def test_wrong_options():
    with pytest.raises(UserError, match="no clips"):
        MediaDataset([])
    for options in ({"short": "stretch"}, {"max_broken": 2.0}):
        with pytest.raises(UserError, match="'hold' or 'loop'"):
            MediaDataset([object()], **options)


# -- batches ----------------------------------------------------------------------------------------------

SIZE = {"num_frames": 4, "height": 16, "width": 24, "fps": 10.0}


def same(a, b):
    return torch.equal(a.video, b.video) and a.captions == b.captions and a.keys == b.keys


def test_batches_are_tensors_with_captions(root):
    batch = ClipBatches(open_dataset(root), **SIZE)([0, 1, 2])
    assert (tuple(batch.video.shape), batch.video.dtype) == ((3, 3, 4, 16, 24), torch.float32)
    assert batch.video.abs().max() <= 1
    assert all(text.startswith(key[0]) or key == "still.png" for text, key in zip(batch.captions, batch.keys))
    with pytest.raises(UserError, match="at least one"):
        ClipBatches(open_dataset(root), **SIZE)([])


def test_every_epoch_is_another_order_of_all_clips(root):
    batches = ClipBatches(open_dataset(root), crops=2, seed=5, **SIZE)
    epochs = [[batches.place(7 * epoch + n) for n in range(7)] for epoch in range(6)]
    assert all(sorted(index for index, _ in epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(index for index, _ in epoch) for epoch in epochs}) > 3
    assert [epoch[0][1] for epoch in epochs] == [0, 1, 0, 1, 0, 1]
    plain = ClipBatches(open_dataset(root), shuffle=False, **SIZE)
    assert [plain.place(n)[0] for n in range(9)] == [0, 1, 2, 3, 4, 5, 6, 0, 1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"workers": 3},
        {"cache_bytes": 10**6},
        {"cache_bytes": 6000},
        {"cache_folder": "cache", "workers": 2},
    ],
)
def test_batches_are_pure_in_the_sample_numbers(root, tmp_path, options):
    if "cache_folder" in options:
        options = {**options, "cache_folder": tmp_path / "cache"}
    wanted = [ClipBatches(open_dataset(root), seed=1, **SIZE)([n, n + 1]) for n in range(0, 16, 2)]
    batches = ClipBatches(open_dataset(root), seed=1, **SIZE, **options)
    for turn in (reversed(range(8)), range(8)):  # any order, cold and warm
        assert all(same(batches(range(2 * n, 2 * n + 2)), wanted[n]) for n in turn)
    resumed = ClipBatches(open_dataset(root), seed=1, **SIZE, **options)  # a new process, an old cache folder
    assert same(resumed([6, 7]), wanted[3])
    assert not same(ClipBatches(open_dataset(root), seed=2, **SIZE)([6, 7]), wanted[3])


def test_a_cached_stand_in_keeps_its_own_caption(root, tmp_path):
    (tmp_path / "data").mkdir()
    folder = broken_copy(root, tmp_path / "data", {"1.mp4"})
    options = {"shuffle": False, "cache_folder": tmp_path / "cache", "crops": 1, **SIZE}
    first = ClipBatches(open_dataset(folder, max_broken=0.5), **options)([1])
    resumed = ClipBatches(open_dataset(folder, max_broken=0.5), **options)([1])
    assert first.keys == resumed.keys == ("2.mp4",)
    assert first.captions[0].startswith("2")
    assert same(first, resumed)


def test_the_cache_stays_within_its_bounds_and_spares_decoding(root, tmp_path, monkeypatch):
    batches = ClipBatches(
        open_dataset(root), crops=1, cache_bytes=0, cache_folder=tmp_path, disk_bytes=20_000, **SIZE
    )
    for n in range(7):
        batches([n])
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 20_000
    kept = ClipBatches(open_dataset(root), crops=1, cache_bytes=10**6, **SIZE)
    first = kept(range(7))
    monkeypatch.setattr(MediaDataset, "decode", lambda *_, **__: pytest.fail("decoded again"))
    assert sorted(kept(range(7, 14)).keys) == sorted(first.keys)


def test_the_training_loops_index_is_taken(root):
    from kinema.train.stage import BatchIndex

    batches = ClipBatches(open_dataset(root), **SIZE)
    assert same(batches(BatchIndex(step=3, microbatch=0, indices=range(4, 6))), batches([4, 5]))


def test_a_picture_replaced_on_disk_is_decoded_again(tmp_path):
    for value in (10, 200):
        PIL.Image.new("RGB", (24, 16), (value,) * 3).save(tmp_path / "a.png")
        (tmp_path / "a.txt").write_text("x")
        batches = ClipBatches(open_dataset(tmp_path), cache_folder=tmp_path / ".cache", **SIZE)
        assert batches([0]).video.mean() == pytest.approx(value / 127.5 - 1, abs=1e-4)
