import numpy as np

from kinema.systems.photo_3d.delaunay import LIMIT, triangulate


def area(points, triangles):
    a, b, c = (points[triangles[:, k]].astype(float) for k in range(3))
    return ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])) / 2


def loop(*points, first=0):
    n = len(points)
    return list(points), [(first + i, first + (i + 1) % n) for i in range(n)]


def test_a_square_with_a_hole_and_points_inside():
    outer, around = loop((0, 0), (100, 0), (100, 100), (0, 100))
    inner, hole = loop((40, 40), (40, 60), (60, 60), (60, 40), first=4)
    random = np.random.default_rng(0)
    free = np.unique(random.integers(1, 39, (300, 2)), axis=0).tolist()
    points = np.array(outer + inner + free)
    triangles, conflict, stray = triangulate(points, np.array(around + hole))
    assert len(conflict) == len(stray) == 0
    areas = area(points, triangles)
    assert (areas > 0).all()
    assert areas.sum() == 100 * 100 - 20 * 20
    edges = {(t[i], t[(i + 1) % 3]) for t in triangles.tolist() for i in range(3)}
    assert set(around + hole) <= edges
    assert len(triangles) == 2 * len(free) + 8 - 2 + 2


def test_circles_are_empty_where_nothing_is_fixed():
    random = np.random.default_rng(3)
    corners, around = loop((0, 0), (4000, 0), (4000, 4000), (0, 4000))
    points = np.array(corners + random.integers(1, 4000, (60, 2)).tolist())
    triangles, _, _ = triangulate(points, np.array(around))
    for a, b, c in points[triangles]:
        matrix = 2 * np.array([b - a, c - a], float)
        centre = np.linalg.solve(matrix, [b @ b - a @ a, c @ c - a @ a])
        radius = np.hypot(*(a - centre))
        assert (np.hypot(*(points - centre).T) > radius * (1 - 1e-9)).all()


def test_a_grid_on_which_all_circles_agree():
    y, x = np.mgrid[:20, :20] * 8
    points = np.stack([x.ravel(), y.ravel()], -1)
    rim = [*range(20), *range(39, 400, 20), *range(398, 379, -1), *range(360, 0, -20)]
    segments = np.array(list(zip(rim, rim[1:] + rim[:1])))
    triangles, conflict, _ = triangulate(points, segments)
    assert len(conflict) == 0
    assert len(triangles) == 2 * 19 * 19
    assert (area(points, triangles) == 32).all()


def test_long_segments_through_a_crowd():
    random = np.random.default_rng(5)
    crowd = random.integers(10, LIMIT - 10, (2000, 2))
    points = np.unique(np.concatenate([[[0, 1], [LIMIT, LIMIT - 1]], crowd]), axis=0)
    triangles, conflict, _ = triangulate(points, np.array([[0, len(points) - 1], [len(points) - 1, 0]]))
    assert conflict.tolist() == [0, 1]  # twice the same
    triangles, conflict, _ = triangulate(points, np.array([[0, len(points) - 1]]))
    assert len(conflict) == 0
    assert (
        area(
            np.concatenate([points, [[-2, -2], [LIMIT + 2, -2], [LIMIT + 2] * 2, [-2, LIMIT + 2]]]), triangles
        )
        > 0
    ).all()


def test_crossing_and_touching_segments_are_reported():
    points = np.array([(0, 0), (100, 100), (0, 100), (100, 0), (200, 0), (300, 0), (250, 0)])
    _, conflict, _ = triangulate(points, np.array([(0, 1), (2, 3), (4, 5)]))
    assert conflict.tolist() == [0, 1, 2]


def test_an_outline_on_the_wrong_side_of_another_is_stray():
    outer, around = loop((0, 0), (100, 0), (100, 100), (0, 100))
    lost, hole = loop((140, 40), (140, 60), (160, 60), (160, 40), first=4)  # a hole, outside of what it is in
    triangles, conflict, stray = triangulate(np.array(outer + lost), np.array(around + hole))
    assert len(conflict) == 0
    assert stray.tolist() == [4, 5, 6, 7]
    assert area(np.array(outer + lost), triangles).sum() == 100 * 100
