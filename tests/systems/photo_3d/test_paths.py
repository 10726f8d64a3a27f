import numpy as np
import pytest

from kinema.errors import UserError
from kinema.systems.photo_3d.paths import PATHS, camera_path
from kinema.systems.photo_3d.viewing import View


def view(reach):
    return View(reach=reach, upward=reach, still_depth=2.0)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("frames", [1, 7, 120])
def test_a_path_is_short_smooth_and_closed(name, frames):
    way = camera_path(name, frames, view(0.07))
    assert way.shape == (frames, 3)
    assert np.linalg.norm(way, axis=1).max() <= 0.04 * 2.0
    if frames > 100:
        steps = np.linalg.norm(np.diff(np.concatenate([way, way[:1]]), axis=0), axis=1)
        assert steps.max() <= 2 * np.pi / frames * 0.035 * 2 * 1.1


def test_paths_do_what_they_are_called():
    circle, dolly, swing = (camera_path(name, 80, view(0.035)) for name in PATHS)
    assert np.ptp(circle[:, 0]) > 0
    assert np.ptp(circle[:, 1]) > 0
    assert not circle[:, 2].any()
    assert not dolly[:, :2].any()
    assert dolly[:, 2].min() < -0.03
    assert dolly[:, 2].max() <= 0
    assert not swing[:, 1].any()
    assert swing[:, 0].min() == pytest.approx(-swing[:, 0].max())


def test_wrong_paths():
    with pytest.raises(UserError, match="circle, dolly, swing"):
        camera_path("spiral", 10, view(1))
    with pytest.raises(UserError, match="frames"):
        camera_path("circle", 0, view(1))
