"""Lifting: the capture pose is the photo, hidden surfaces join behind objects, and stay within their wedge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from kinema.errors import UserError
from kinema.systems.photo_3d.curves import BORDER, CLOSED, FREE, JUNCTION, broken_links, find_curves
from kinema.systems.photo_3d.layered import LEFT, RIGHT, front_index, render_front, single_layer, walk
from kinema.systems.photo_3d.lifting import LiftSettings, lift

PLAIN = LiftSettings(sharpen_passes=0, smallest_part=0)


def photo_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def square(height: int = 30, width: int = 34, near: float = 0.9, far: float = 0.2) -> np.ndarray:
    disparity = np.full((height, width), far, np.float32)
    disparity[8:22, 9:25] = near
    return disparity


def horizon() -> np.ndarray:
    """A near square before a middle surface (rows 20 and below) and a far one: T-junctions at its sides."""
    disparity = np.full((40, 60), 0.1, np.float32)
    disparity[20:] = 0.4
    disparity[8:32, 18:42] = 0.9
    return disparity


def test_capture_pose_shows_the_photo():
    rng = np.random.default_rng(1)
    disparity = horizon() + rng.uniform(-0.02, 0.02, (40, 60)).astype(np.float32)
    image = lift(photo_of(40, 60), disparity)
    image.check()
    assert len(image) > 40 * 60
    assert np.array_equal(render_front(image), photo_of(40, 60))
    assert np.array_equal(front_index(image).ravel(), np.arange(40 * 60))
    assert image.known.sum() == 40 * 60


def test_a_plane_behind_a_square_joins_from_both_sides():
    image = lift(photo_of(30, 34), square(), PLAIN)
    image.check()
    grown = image.layer > 0
    assert grown.sum() == 14 * 16  # the whole of it, once
    np.testing.assert_allclose(image.disparity[grown], 0.2, atol=1e-6)
    start = np.array([15 * 34 + 8])  # left of the square
    across = walk(image.neighbours, start, RIGHT, 17)
    assert across[0] == 15 * 34 + 25  # below the square, out on its right
    assert walk(image.neighbours, across, LEFT, 17)[0] == start[0]
    inner = image.neighbours[grown]
    assert (inner >= 0).all()
    assert image.layer.max() == 7


def test_growth_ends_after_its_steps():
    image = lift(photo_of(30, 34), square(), replace(PLAIN, steps=3))
    image.check()
    assert (image.layer > 0).sum() == 14 * 16 - 8 * 10
    assert image.layer.max() == 3


def test_a_slanted_plane_is_continued():
    ramp = np.linspace(0.1, 0.3, 34, dtype=np.float32)[None].repeat(30, 0)
    disparity = np.where(square() > 0.5, np.float32(0.9), ramp)
    image = lift(photo_of(30, 34), disparity, replace(PLAIN, tau=0.12, smoothing=200))
    image.check()
    grown = image.layer > 0
    assert grown.sum() == 14 * 16
    np.testing.assert_allclose(image.disparity[grown], ramp[0, image.x[grown]], atol=0.01)


def test_the_middle_surface_stays_below_its_horizon():
    image = lift(photo_of(40, 60), horizon(), replace(PLAIN, shortest_curve=10))
    image.check()
    behind_square = (image.layer > 0) & (image.x >= 18) & (image.x < 42) & (image.y >= 8) & (image.y < 32)
    middle = behind_square & (np.abs(image.disparity - 0.4) < 0.1)
    far = behind_square & (np.abs(image.disparity - 0.1) < 0.1)
    assert middle.sum() == 12 * 24
    assert image.y[middle].min() == 20  # the line of the horizon, carried on behind the square
    assert set(zip(image.x[far].tolist(), image.y[far].tolist(), strict=True)) >= {
        (18, 8),
        (30, 12),
        (41, 19),
    }


def steep_horizon() -> np.ndarray:
    """A disc before a far surface that is cut by a slanted middle one: constraint lines part behind the disc."""
    y, x = np.mgrid[:80, :80]
    disparity = np.where(y > 20 + x // 2, 0.4, 0.1).astype(np.float32)
    disparity[(x - 40) ** 2 + (y - 40) ** 2 < 26**2] = 0.9
    return disparity


def test_the_farther_surface_goes_on_behind_the_nearer_hidden_one():
    """Else a gap would open between them as soon as one moves; and no place behind the disc stays empty."""
    disparity = steep_horizon()
    image = lift(photo_of(80, 80), disparity, PLAIN)
    image.check()
    hidden = image.layer > 0
    assert (image.disparity[hidden] < disparity[image.y[hidden], image.x[hidden]] - 0.05).all()
    held = np.zeros((2, 80, 80), bool)  # by the far surface, and by the middle one
    held[(image.disparity[hidden] > 0.25).astype(int), image.y[hidden], image.x[hidden]] = True
    assert held.any(0)[disparity > 0.8].all()
    assert held.all(0).sum() > 500


def test_curves_end_at_junctions_and_the_border():
    disparity = horizon()
    curves = find_curves(disparity, broken_links(disparity, 0.05), 5)
    assert len(curves.ends) == 4  # the horizon left and right, the square above and below it
    assert sorted(curves.ends.ravel().tolist()) == [BORDER] * 2 + [JUNCTION] * 6
    values = disparity.ravel()
    assert (values[curves.front] > values[curves.back]).all()
    lengths = np.bincount(curves.curve)
    assert sorted(lengths.tolist()) == [18, 18, 12 * 2 + 24, 12 * 2 + 24]
    bars = curves.lines[lengths == 48].reshape(-1, 4)
    np.testing.assert_allclose(np.abs(bars[:, 2]), 1, atol=0.1)  # the horizon carried on
    alone = find_curves(square(), broken_links(square(), 0.05))
    assert alone.ends.tolist() == [[CLOSED, CLOSED]]


def test_short_curves_are_linked_again():
    disparity = np.full((30, 40), 0.3, np.float32)
    disparity[10:14, 10:14] = 0.8  # a contour of 16
    image = lift(photo_of(30, 40), disparity, PLAIN)
    assert np.array_equal(image.neighbours, single_layer(photo_of(30, 40), disparity).neighbours)
    disparity[10:15, 10:15] = 0.8  # and of 20
    assert len(lift(photo_of(30, 40), disparity, PLAIN)) == 30 * 40 + 25


def test_a_short_spur_does_not_cut_a_contour():
    disparity = square()
    disparity[3:8, 15:17] = np.linspace(0.2, 0.24, 5, dtype=np.float32)[:, None]
    disparity[6:8, 15] = 0.27  # differs from its left by more than tau, from its right by less
    broken = broken_links(disparity, 0.05)
    curves = find_curves(disparity, broken)
    assert len(curves.ends) == 1
    assert not broken[0, 6, 14]


def test_a_fading_edge_ends_free():
    disparity = np.full((40, 40), 0.5, np.float32)
    disparity[:, 20:] += np.linspace(0.4, 0.0, 40, dtype=np.float32)[:, None]
    curves = find_curves(disparity, broken_links(disparity, 0.05))
    assert sorted(curves.ends.ravel().tolist()) == [BORDER, FREE]
    lift(photo_of(40, 40), disparity, PLAIN).check()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_tiny_and_constant_pictures_are_one_sheet(shape):
    photo, disparity = photo_of(*shape), np.full(shape, 0.5, np.float32)
    image = lift(photo, disparity)
    image.check()
    assert len(image) == shape[0] * shape[1]
    assert np.array_equal(image.neighbours, single_layer(photo, disparity).neighbours)


def test_a_row_with_a_step():
    disparity = np.repeat(np.array([[0.1, 0.9]], np.float32), 30, 1)
    lift(photo_of(1, 60), disparity, PLAIN).check()
    lift(photo_of(60, 1), disparity.T, replace(PLAIN, shortest_curve=0)).check()


def test_a_lattice_may_be_smaller_than_the_photo():
    image = lift(photo_of(30, 34), square(), LiftSettings(long_side=17))
    image.check()
    assert (image.height, image.width) == (15, 17)


@pytest.mark.parametrize(
    ("disparity", "words"),
    [
        (np.full((4, 5), np.nan, np.float32), "20 of the disparities are not numbers"),
        (np.full((5, 4), 0.5, np.float32), "resize the disparity"),
        (np.full((4, 5), 7.0, np.float32), "run from 7 to 7: normalise"),
    ],
)
def test_bad_disparities_are_refused(disparity, words):
    with pytest.raises(UserError, match=words):
        lift(photo_of(4, 5), disparity)


def test_bad_photos_and_settings_are_refused():
    with pytest.raises(UserError, match="expected uint8"):
        lift(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.float32))
    with pytest.raises(UserError, match="tau=0"):
        LiftSettings(tau=0)
    with pytest.raises(UserError, match="steps=-1"):
        LiftSettings(steps=-1)
