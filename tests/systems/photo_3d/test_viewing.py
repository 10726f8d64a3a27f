"""Wherever a viewer may go there is something to see: no gap behind the foreground, no end of the photo."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from kinema.media.depth import Depth
from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.paths import PATHS, camera_path
from kinema.systems.photo_3d.pipeline import Lifting, lift_photo
from kinema.systems.photo_3d.rasterise import render
from kinema.systems.photo_3d.viewing import OVERSCAN, REACH, find_view, parallax
from tests.systems.photo_3d.surfaces import crowd

FLAT = Lifting(colours="diffusion")
CORNERS = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1)]


def seen(mesh, where):
    """What of the page's picture is covered, from `where` in [-1, 1]."""
    camera = mesh.camera
    across = math.tan(math.radians(camera.field_of_view) / 2) / OVERSCAN
    closer = replace(camera, field_of_view=math.degrees(2 * math.atan(across)))
    return render(mesh, closer, mesh.view.position(*where), still_depth=mesh.view.still_depth)[1]


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_uncovered_wherever_a_viewer_goes(seed):
    photo, disparity = crowd(240, 320, seed)
    mesh = lift_photo(photo, Depth(disparity, "relative_disparity"), FLAT)
    gaps = {where: int((seen(mesh, where) < 1).sum()) for where in CORNERS}
    assert max(gaps.values()) <= 2, gaps


def test_a_near_ground_before_a_far_sky_keeps_its_rim_out_of_sight():
    disparity = np.repeat(np.linspace(-1, 1, 90, dtype=np.float32).clip(0, 1)[:, None], 120, 1)
    photo = np.zeros((90, 120, 3), np.uint8)
    mesh = lift_photo(photo, Depth(disparity, "relative_disparity"), FLAT)
    assert mesh.median_depth > 4
    assert mesh.view.reach < 0.9 * REACH * mesh.median_depth
    for where in CORNERS:
        assert seen(mesh, where).min() == 1
    farther = replace(mesh, view=replace(mesh.view, reach=REACH * mesh.median_depth))
    assert seen(farther, (1, 0)).min() == 0


def test_the_usual_photo_is_seen_by_its_median():
    disparity = np.full((60, 90), 0.4)
    disparity[20:40, 30:60] = 0.9
    camera = Camera(90, 60)
    view = find_view(disparity, camera)
    median = float(camera.depth(0.4))
    assert view.still_depth == pytest.approx(median)
    assert view.reach == view.upward == pytest.approx(REACH * median)
    assert parallax(view, camera) == pytest.approx(camera.focal * view.reach * 0.8)
    assert view.position(1, -1, 0.5) == pytest.approx((view.reach, -view.reach, view.reach / 2))


def test_rims_of_any_depth_leave_some_room():
    rng = np.random.default_rng(0)
    for shape in ((16, 16), (16, 60), (90, 40)):
        for low, high in ((0, 1), (0.9, 1), (0, 0.01), (0.5, 0.5)):
            camera = Camera(shape[1], shape[0])
            disparity = rng.uniform(low, high, shape)
            view = find_view(disparity, camera)
            inverse = camera.inverse_depth(
                np.concatenate([disparity[0], disparity[-1], *disparity[:, [0, -1]].T])
            )
            off = np.abs(inverse - 1 / view.still_depth).max() * camera.focal
            assert 0 < view.upward <= view.reach
            assert off * view.reach <= (1 - 1 / OVERSCAN) / 2 * shape[1]
            assert off * view.upward <= (1 - 1 / OVERSCAN) / 2 * shape[0]


@pytest.mark.parametrize("path", PATHS)
def test_camera_moves_stay_where_a_viewer_may_be(path):
    view = find_view(np.linspace(0, 1, 40 * 90).reshape(40, 90), Camera(90, 40))
    way = camera_path(path, 60, view)
    assert np.abs(way[:, 0]).max() <= view.reach * 1.0001
    assert np.abs(way[:, 1]).max() <= view.upward * 1.0001
    assert way[:, 2].max() <= 0  # further back the rim would show
