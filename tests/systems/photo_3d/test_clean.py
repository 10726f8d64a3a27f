"""Clean disparity: soft edges become steps with their corners on, nothing else moves, and specks find their side."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from kinema.systems.photo_3d.clean import sharpened, without_specks, without_unknown


def softened(disparity: np.ndarray) -> np.ndarray:
    """Averaged over (1, 2, 1)/4 both ways: a step becomes a ramp with two values in between."""
    for axis in (0, 1):
        first = np.take(disparity, [0], axis)
        last = np.take(disparity, [-1], axis)
        padded = np.concatenate([first, disparity, last], axis)
        count = disparity.shape[axis]
        before, here, after = (np.take(padded, np.arange(count) + k, axis) for k in range(3))
        disparity = (before + 2 * here + after) / 4
    return disparity.astype(np.float32)


def square() -> np.ndarray:
    disparity = np.full((24, 26), 0.1, np.float32)
    disparity[7:17, 8:19] = 0.95  # strong enough for the smear beyond a corner, 1/16 of it, to exceed tau
    return disparity


def test_a_soft_edge_becomes_a_step_and_corners_stay():
    soft = softened(square())
    assert np.unique(soft.round(3)).size > 4
    np.testing.assert_allclose(sharpened(soft), square(), atol=1e-6)


def test_wider_ramps_take_more_passes():
    step = np.where(np.arange(20) < 10, 0.1, 0.9).astype(np.float32)
    row = np.interp(np.arange(20), [7, 12], [0.1, 0.9]).astype(np.float32)  # four values in between
    wide = np.repeat(row[None], 12, 0)
    assert not np.array_equal(sharpened(wide, passes=1), np.repeat(step[None], 12, 0))
    np.testing.assert_allclose(sharpened(wide, passes=3), np.repeat(step[None], 12, 0), atol=1e-6)


def test_constant_and_gentle_pictures_stay():
    constant = np.full((9, 11), 0.4, np.float32)
    gentle = np.add.outer(np.arange(9), np.arange(11)).astype(np.float32) * np.float32(0.04)
    for picture in (constant, gentle):
        assert np.array_equal(sharpened(picture), picture)
        assert np.array_equal(without_specks(picture), picture)


def test_a_speck_joins_the_side_that_it_touches_most():
    picture = np.full((20, 20), 0.2, np.float32)
    picture[:, 12:] = 0.8
    picture[8:11, 10:12] = 0.5  # 3 x 2 at the edge: 3 contacts with 0.8, 7 with 0.2
    clean = without_specks(picture)
    expected = np.full((20, 20), 0.2, np.float32)
    expected[:, 12:] = 0.8
    np.testing.assert_allclose(clean, expected, atol=1e-6)
    picture[8:11, 10:12] = 0.2
    picture[8:11, 12:15] = 0.5  # the other way round
    np.testing.assert_allclose(without_specks(picture), expected, atol=1e-6)


def test_a_part_of_twenty_pixels_stays():
    picture = np.full((20, 20), 0.2, np.float32)
    picture[4:8, 4:9] = 0.9
    assert np.array_equal(without_specks(picture), picture)
    picture[4, 4] = 0.2
    assert not (without_specks(picture) > 0.5).any()


def test_a_picture_of_specks_alone_is_left_alone():
    noise = np.indices((6, 7)).sum(0) % 2 * np.float32(0.5)
    assert np.array_equal(without_specks(noise.astype(np.float32)), noise)


def test_unknown_depth_is_that_of_the_farther_side():
    disparity = np.array([[0.2, 0, 0, 0.9, 0.9], [0, 0.5, 0.4, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    found = without_unknown(disparity, disparity > 0)
    np.testing.assert_array_equal(found[0], np.float32([0.2, 0.2, 0.2, 0.9, 0.9]))
    np.testing.assert_array_equal(found[1], np.float32([0.5, 0.5, 0.4, 0.4, 0.4]))
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(without_unknown(found, np.ones_like(found, bool)), found)
