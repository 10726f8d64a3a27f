import math

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.systems.photo_3d.camera import Camera


def test_depth_is_near_at_one_and_far_at_zero():
    camera = Camera(64, 48, near=2.0, far=8.0)
    np.testing.assert_allclose(camera.depth([1.0, 0.0]), [2.0, 8.0])
    assert camera.depth(0.5) == pytest.approx(1 / (0.5 / 2 + 0.5 / 8))


def test_the_middle_of_the_right_edge_lies_at_half_the_field_of_view():
    camera = Camera(640, 480, field_of_view=60)
    (point,) = camera.unproject([640], [240], [0.0])
    np.testing.assert_allclose(point, [5 * math.tan(math.radians(30)), 0, -5], atol=1e-12)


def test_up_in_the_photo_is_up_in_the_world():
    (point,) = Camera(10, 10).unproject([5], [0], [1.0])
    assert point[1] > 0
    assert point[2] == -1


def test_projecting_undoes_unprojecting():
    rng = np.random.default_rng(1)
    camera = Camera(123, 77, field_of_view=43, near=0.5, far=30)
    x, y, disparity = rng.uniform(0, 123, 50), rng.uniform(0, 77, 50), rng.uniform(0, 1, 50)
    found, depth = camera.project(camera.unproject(x, y, disparity))
    np.testing.assert_allclose(found, np.stack([x, y], -1), atol=1e-9)
    np.testing.assert_allclose(depth, camera.depth(disparity))


def test_parallax_is_translation_times_inverse_depth():
    camera = Camera(100, 80)
    points = camera.unproject([50, 50], [40, 40], [0.0, 1.0])
    moved, _ = camera.project(points, (0.1, 0, 0))
    np.testing.assert_allclose(moved[:, 0] - 50, -0.1 * camera.focal / np.array([5.0, 1.0]))


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"field_of_view": 0}, {"field_of_view": math.nan}, {"near": 6}, {"far": math.inf}]
)
def test_an_impossible_camera_is_refused(wrong):
    with pytest.raises(UserError):
        Camera(**{"width": 4, "height": 4, **wrong})
