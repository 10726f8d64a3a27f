"""Buckets: the published tables, where a clip goes, and which bucket a step takes."""

import math

import pytest

from kinema.data.buckets import PRESETS, Bucket, BucketOrder, Buckets, Duration, fair_turns, sizes_of
from kinema.errors import UserError

PAPER = PRESETS["movie-gen-768"]


def test_the_published_durations():
    rows = [
        (d.num_frames, -(-d.num_frames // 8), *(round(rate) for rate in d.rates)) for d in PAPER.durations
    ]
    assert rows == [
        (256, 32, 24, 24),
        (256, 32, 16, 16),
        (256, 32, 16, 21),
        (192, 24, 16, 24),
        (128, 16, 16, 32),
    ]
    assert len(PAPER.all) == len(set(PAPER.sizes)) * 5 == 25


@pytest.mark.parametrize("side", [256, 768])
def test_sizes_have_one_area_and_the_asked_ratios(side):
    sizes = sizes_of(side)
    assert all(height % 16 == width % 16 == 0 for height, width in sizes)
    assert all(0.93 * side**2 < height * width <= side**2 for height, width in sizes)
    ratios = [width / height for height, width in sizes]
    assert ratios == pytest.approx([16 / 9, 4 / 3, 1, 3 / 4, 9 / 16], rel=0.04)
    assert sizes == tuple((width, height) for height, width in reversed(sizes))
    if side == 768:
        assert sizes[0] == (576, 1024)  # the paper's own


@pytest.mark.parametrize(
    ("seconds", "rate", "number", "fps"),
    [
        (256 / 24, 24, 0, 24.0),  # just 10.67 s at 24
        (16, 16, 1, 16.0),
        (20, 30, 1, 16.0),  # 16 of its 20 seconds
        (14, 24, 2, 256 / 14),
        (12, 24, 2, 256 / 12),
        (11, 24, 3, 192 / 11),  # not 256 frames of 10.67 s: more of the clip is shown
        (8, 24, 3, 24.0),
        (256 / 24, 16, 4, 16.0),  # neither 24 nor 18 frames a second are there
        (6, 30, 4, 128 / 6),
        (5, 24, 4, 25.6),  # no duration fits a slow short clip: the nearest
        (2, 24, 4, 32.0),  # too short: held to the end
    ],
)
def test_where_a_clip_goes(seconds, rate, number, fps):
    fit = PAPER.fit(720, 1280, round(seconds * rate), rate)
    assert fit.bucket == number
    assert fit.fps == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (64, 64, 0),
        (1080, 1920, 3),
        (480, 640, 1),
        (640, 480, 2),
        (1920, 1080, 4),
        (600, 660, 0),
        (10, 1000, 3),
    ],
)
def test_the_ratio_is_the_nearest_as_a_factor(height, width, size):
    nano = PRESETS["nano"]
    bucket = nano.all[nano.fit(height, width, 48, 24.0).bucket]
    assert (bucket.height, bucket.width) == nano.sizes[size]
    assert bucket.num_frames == 16


def test_small_samples_come_in_larger_numbers():
    nano = PRESETS["nano"]
    largest = max(bucket.volume for bucket in nano.all)
    for number, bucket in enumerate(nano.all):
        many = nano.per_sample(number)
        assert many * bucket.volume <= largest < (many + 1) * bucket.volume
    assert nano.per_sample(nano.all.index(Bucket(num_frames=8, height=32, width=64))) == 4


def test_nonsense_is_refused():
    with pytest.raises(UserError, match="fits no bucket"):
        PAPER.fit(0, 4, 4, 4.0)
    with pytest.raises(UserError, match="is none"):
        Duration(num_frames=4, seconds=(2.0, 1.0))
    with pytest.raises(UserError, match="at least one size"):
        Buckets(sizes=(), durations=PAPER.durations)
    with pytest.raises(UserError, match="no clips in any bucket"):
        fair_turns([0.0, 0.0])
    with pytest.raises(UserError, match="turns are"):
        BucketOrder([0, 0])


def test_a_round_gives_every_bucket_its_turns_in_another_order_each_time():
    order = BucketOrder([3, 0, 2], seed=5)
    rounds = [[order(step) for step in range(start, start + 5)] for start in range(0, 200, 5)]
    for number, steps in enumerate(rounds):
        assert sorted(steps) == [(0, 3 * number + k) for k in range(3)] + [
            (2, 2 * number + k) for k in range(2)
        ]
    assert len({tuple(bucket for bucket, _ in steps) for steps in rounds}) > 3
    again = BucketOrder([3, 0, 2], seed=5)
    assert [again(step) for step in (199, 3)] == [order(199), order(3)]
    assert [BucketOrder([3, 0, 2], seed=6)(step) for step in range(60)] != [order(step) for step in range(60)]


def test_turns_are_in_proportion_to_the_clips():
    turns = fair_turns([0.5, 0.0, 7.3, 100.0])
    assert turns[1] == 0
    assert [turn / sum(turns) for turn in turns] == pytest.approx(
        [cost / 107.8 for cost in (0.5, 0, 7.3, 100)], abs=1e-3
    )
    crowded = fair_turns([1e-4, 1000.0])
    assert crowded[0] == 1
    assert math.isclose(crowded[1], 4096, rel_tol=0.01)
