"""Clips of mixed shapes from a folder: each in its bucket, all of them seen, whoever computes which part."""

from collections import Counter

import numpy as np
import pytest
import torch

from kinema.data import BucketedClips, open_dataset
from kinema.data.buckets import PRESETS
from kinema.errors import UserError
from kinema.media import Video
from kinema.train import Stage

NANO = PRESETS["nano"]
SHAPES = {  # name -> frames, height, width, rate; the bucket and the rate that it is to have
    "square": ((16, 32, 32, 8.0), (16, 64, 64), 8.0),
    "wide": ((20, 32, 64, 12.0), (16, 32, 64), 9.6),
    "wide2": ((16, 34, 64, 12.0), (16, 32, 64), 12.0),
    "wide3": ((40, 32, 66, 12.0), (16, 32, 64), 8.0),
    "tall-short": ((9, 40, 30, 12.0), (8, 64, 48), 32 / 3),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for number, (name, ((frames, height, width, rate), _, _)) in enumerate(SHAPES.items()):
        pixels = np.full((frames, height, width, 3), 40 * number + 20, np.uint8)
        Video(pixels, rate).write(root / f"{name}.mp4")
        (root / f"{name}.txt").write_text(f"clip {name}")
    return root


def places(batch_size, world=1, accumulation=1, steps=range(1)):
    stage = Stage(
        name="x",
        model=None,
        loss=None,
        batches=None,
        steps=1000,
        batch_size=batch_size,
        accumulation=accumulation,
    )
    return [
        stage.microbatch(step, turn, rank=rank, world=world, seed=0)
        for step in steps
        for turn in range(accumulation)
        for rank in range(world)
    ]


def test_facts_are_measured(folder):
    dataset = open_dataset(folder)
    for index, sample in enumerate(dataset.samples):
        facts, expected = dataset.measure(index), SHAPES[sample.key.removesuffix(".mp4")][0]
        assert (facts.num_frames, facts.height, facts.width) == expected[:3]
        assert facts.fps == pytest.approx(expected[3])


def test_every_clip_comes_in_its_shape_at_its_rate_as_often_as_the_others(folder):
    clips = BucketedClips(open_dataset(folder), NANO, seed=1)
    seen = Counter()
    for place in places(1, steps=range(sum(clips.order.turns))):
        batch = clips(place)
        for key, rate, caption in zip(batch.keys, batch.rates, batch.captions, strict=True):
            name = key.removesuffix(".mp4")
            seen[name] += 1
            frames, height, width = SHAPES[name][1]
            assert batch.video.shape[1:] == (3, frames, height, width)
            assert rate == pytest.approx(SHAPES[name][2], rel=1e-3)
            assert caption == f"clip {name}"
    assert len(seen) == len(SHAPES)
    assert max(seen.values()) <= 1.3 * min(seen.values())


def test_processes_and_microbatches_share_a_batch_exactly(folder):
    def keys(steps, **division):
        clips = BucketedClips(open_dataset(folder), NANO, seed=3)
        return [key for place in places(4, steps=steps, **division) for key in clips(place).keys]

    whole = keys(range(12))
    assert (
        keys(range(12), world=2)
        == keys(range(12), accumulation=4)
        == keys(range(12), world=2, accumulation=2)
        == whole
    )
    resumed = keys(range(5, 12))
    assert whole[-len(resumed) :] == resumed


def test_a_clip_that_cannot_be_opened_fits_no_bucket(folder, tmp_path, caplog):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "wide.mp4").write_bytes(b"no video")
    clips = BucketedClips(open_dataset(tmp_path, max_broken=0.5), NANO)
    assert sum(clips.counts) == len(SHAPES) - 1
    assert "wide.mp4 fits no bucket" in caplog.text
    for name in SHAPES:
        (tmp_path / f"{name}.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match="no clip of the data set can be opened"):
        BucketedClips(open_dataset(tmp_path), NANO)


def test_a_cache_changes_nothing(folder):
    plain = BucketedClips(open_dataset(folder), NANO)
    cached = BucketedClips(open_dataset(folder), NANO, cache_bytes=1 << 24)
    for _ in range(2):
        for place in places(1, steps=range(4)):
            assert torch.equal(plain(place).video, cached(place).video)
            assert plain(place).rates == cached(place).rates
