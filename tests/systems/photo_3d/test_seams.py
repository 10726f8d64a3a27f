"""Charts of one surface are one surface: no edge stands open inside it, and nobody sees where they meet."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.charts import make_charts
from kinema.systems.photo_3d.inpainting import fill
from kinema.systems.photo_3d.lifting import LiftSettings, lift
from kinema.systems.photo_3d.mesh import build_mesh
from kinema.systems.photo_3d.outlines import LINKED, find_outlines
from kinema.systems.photo_3d.rasterise import render
from tests.systems.photo_3d.surfaces import crowd, from_photo, soft_picture

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module", params=[0, 1, 2])
def lifted(request):
    photo, disparity = crowd(HEIGHT, WIDTH, request.param)
    return fill(lift(photo, disparity, LiftSettings(shortest_curve=6)), "diffusion")


def slanted(down, across):
    """A plane's disparity (H, W): a tenth of the range at the upper left corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return 0.1 + down * y / HEIGHT + across * x / WIDTH


def patches():
    """Charts that are no rectangles: their borders are staircases, and three of them meet in a corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    number = y // 31 * 9 + (x + (y * 0.4).astype(int)) // 37
    return np.unique(number, return_inverse=True)[1].reshape(-1).astype(np.int32)


def interpolated(photo, camera, down, across, position):
    """What a camera at `position` sees of the plane `slanted`, from the photo itself: (H, W, 3), and where it does."""
    span = 1 / camera.near - 1 / camera.far
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    u, v = x - WIDTH / 2, y - HEIGHT / 2
    slope_x, slope_y = span * across / WIDTH * camera.focal, span * down / HEIGHT * camera.focal
    level = 1 / camera.far + span * (0.1 + down / 2 + across / 2)
    right, below = position[0], -position[1]
    z = (1 - slope_x * right - slope_y * below) / (level + (slope_x * u + slope_y * v) / camera.focal)
    a, b = u + right / z * camera.focal + WIDTH / 2 - 0.5, v + below / z * camera.focal + HEIGHT / 2 - 0.5
    inside = (a >= 0) & (a <= WIDTH - 1) & (b >= 0) & (b <= HEIGHT - 1)
    a, b = a.clip(0, WIDTH - 1.001), b.clip(0, HEIGHT - 1.001)
    i, j = a.astype(int), b.astype(int)
    s, t = (a - i)[..., None], (b - j)[..., None]
    above = photo[j, i] * (1 - s) + photo[j, i + 1] * s
    return above * (1 - t) + (photo[j + 1, i] * (1 - s) + photo[j + 1, i + 1] * s) * t, inside


@pytest.mark.parametrize(("down", "across"), [(0.0, 0.0), (0.5, 0.1), (0.1, 0.8)])
@pytest.mark.parametrize("where", [(0, 0), (1, 0), (-0.7, 0.7)])
def test_seams_are_those_of_the_photo_within_one_255th(monkeypatch, down, across, where):
    camera, colour = Camera(WIDTH, HEIGHT), soft_picture(HEIGHT, WIDTH, 1)
    if down == across == 0:  # nothing is straightened, so that even noise has to come back
        colour = np.random.default_rng(0).uniform(0, 1, colour.shape)
    monkeypatch.setattr("kinema.systems.photo_3d.mesh.make_charts", lambda *_: patches())
    mesh = build_mesh(from_photo(colour, slanted(down, across)), camera)
    assert len(np.unique(mesh.positions, axis=0)) < len(mesh.positions)  # charts there are
    position = mesh.view.position(*where)
    expected, inside = interpolated(np.rint(colour * 255), camera, down, across, position)
    picture, covered = render(mesh, position=position)
    assert covered[inside].min() == 1
    assert np.abs(picture - np.rint(expected))[inside].max() <= 1


def test_charts_agree_on_the_depth_of_every_point_that_they_share(lifted):
    outlines = find_outlines(lifted, make_charts(lifted, cap=32))
    own = np.flatnonzero(outlines.kind == LINKED)
    twin = outlines.twin[own]
    assert len(own) > 500
    np.testing.assert_array_equal(outlines.twin[twin], own)
    np.testing.assert_array_equal(outlines.middle[own], outlines.middle[twin])
    np.testing.assert_array_equal(outlines.node[own], outlines.node[outlines.following[twin]])
    np.testing.assert_array_equal(outlines.node[outlines.following[own]], outlines.node[twin])


def test_edges_stand_open_only_where_a_surface_ends(lifted):
    camera = Camera(WIDTH, HEIGHT)
    mesh = build_mesh(lifted, camera)
    _, point = np.unique(mesh.positions, axis=0, return_inverse=True)
    edges = np.concatenate([mesh.triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    _, first, kind, times = np.unique(
        np.sort(point.reshape(-1)[edges], 1),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    assert not (times[times > 1] % 2).any()  # four, where a sliver's two borders became the same line
    turns = np.where(point.reshape(-1)[edges[:, 0]] < point.reshape(-1)[edges[:, 1]], 1, -1)
    assert not np.bincount(kind.reshape(-1), turns)[times == 2].any()  # both sides face the same way
    seen, _ = camera.project(mesh.positions)
    ends = seen[edges[first[times == 1]]]  # (E, 2, 2)
    on_rim = (np.abs(ends) < 1e-3).all(1) | (np.abs(ends - [WIDTH, HEIGHT]) < 1e-3).all(1)
    inner = ends[~on_rim.any(1)].mean(1)
    chart = make_charts(lifted)
    alone = (lifted.neighbours < 0) | (chart[lifted.neighbours] < 0)
    pixel, side = np.nonzero(alone & (chart >= 0)[:, None])
    step = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])[side]
    sides = np.stack([lifted.x[pixel], lifted.y[pixel]], -1) + 0.5 + step
    away = np.linalg.norm(inner[:, None] - sides[None], axis=-1).min(1)
    assert len(inner) > 50
    assert away.max() < 2.0  # pixels: what outlines may be simplified by, and half a side
