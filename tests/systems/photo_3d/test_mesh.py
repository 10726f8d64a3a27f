from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.mesh import MeshSettings, TexturedMesh, build_mesh
from kinema.systems.photo_3d.rasterise import render
from kinema.systems.photo_3d.straighten import straighten
from kinema.systems.photo_3d.viewing import View
from tests.systems.photo_3d.surfaces import from_photo, soft_picture


def psnr(one, two):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - two) ** 2)))


def photo_of(image):
    count = image.height * image.width
    return np.rint(image.colour[:count].reshape(image.height, image.width, 3) * 255)


def blobs(height, width, seed, growth):
    """Discs of many sizes and depths over a slanted ground: junctions, thin gaps, rims at every angle."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disparity, colour = 0.1 + 0.2 * y / height, soft_picture(height, width, seed)
    for level in np.sort(random.uniform(0.3, 1, 14)):
        cx, cy, r = random.uniform(0, width), random.uniform(0, height), random.uniform(3, height / 4)
        disc = (x - cx) ** 2 + (y - cy) ** 2 < r * r
        disparity[disc], colour[disc] = level, 0.3 * colour[disc] + 0.7 * random.uniform(0, 1, 3)
    return from_photo(colour, disparity, growth)


@pytest.fixture(scope="module")
def crowd():
    return blobs(72, 96, 4, growth=5)


@pytest.fixture(scope="module")
def camera():
    return Camera(96, 72)


@pytest.fixture(scope="module")
def crowd_mesh(crowd, camera):
    return build_mesh(crowd, camera)


def test_the_photo_comes_back_from_where_it_was_taken(crowd, crowd_mesh):
    picture, alpha = render(crowd_mesh)
    assert (alpha == 1).all()
    assert psnr(picture, photo_of(crowd)) > 40


@pytest.mark.parametrize("seed", range(3))
def test_no_cracks_however_the_surfaces_lie(seed):
    image = blobs(48, 64, seed, growth=seed * 3)
    _, alpha = render(build_mesh(image, Camera(64, 48)), size=(144, 192))
    assert (alpha == 1).all()


def test_a_slanted_plane_needs_few_triangles_and_lies_in_its_plane(one_layer):
    camera = Camera(96, 64)
    mesh = build_mesh(one_layer, camera, MeshSettings(triangles=400))
    assert len(mesh.triangles) <= 400
    seen, depth = camera.project(mesh.positions)
    disparity = (1 / depth - 1 / 5) / (1 - 1 / 5)
    np.testing.assert_allclose(
        disparity, 0.3 + 0.2 * (seen[:, 1] - 0.5) / 64 + 0.1 * (seen[:, 0] - 0.5) / 96, atol=0.004
    )
    picture, alpha = render(mesh)
    assert psnr(picture, photo_of(one_layer)) > 40
    assert alpha.min() == 1


def test_a_receding_plane_of_two_triangles_shows_the_photo():
    """Without straightening, its texture would lie up to 8 pixels beside the photo."""
    camera = Camera(96, 64)
    picture = np.rint(soft_picture(64, 96) * 255).astype(np.uint8)
    corners = np.array([[0, 0], [96, 0], [96, 64], [0, 64]], float)
    disparity = np.array([0.0, 0.3, 0.3, 0.0])
    triangles = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    positions = camera.unproject(corners[:, 0], corners[:, 1], disparity).astype(np.float32)

    def shown(texture):
        mesh = TexturedMesh(
            positions=positions,
            texcoords=(corners / (96, 64)).astype(np.float32),
            triangles=triangles,
            texture=texture,
            jpeg=b"",
            camera=camera,
            median_depth=1.0,
            view=View(reach=0.0, upward=0.0, still_depth=1.0),
        )
        return psnr(render(mesh)[0], picture)

    inverse = camera.inverse_depth(disparity)
    assert shown(picture) < 25
    assert shown(straighten(picture, corners, inverse, triangles)) > 40
    np.testing.assert_array_equal(straighten(picture, corners, np.ones(4), triangles), picture)


def test_a_surface_in_one_piece_has_one_rim(one_layer):
    mesh = build_mesh(one_layer, Camera(96, 64))
    edges = np.sort(
        np.concatenate([mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]], mesh.triangles[:, [2, 0]]]), 1
    )
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times) == {1, 2}
    assert len(mesh.positions) - len(times) + len(mesh.triangles) == 1  # Euler: a disc


def test_charts_of_one_surface_meet_in_the_same_points(crowd, camera, crowd_mesh):
    """Every edge of a chart's rim has its counterpart in another chart, or lies where a surface ends."""
    places = {tuple(p) for p in crowd_mesh.positions.tolist()}
    assert len(places) < len(crowd_mesh.positions)  # points that two charts share stand in both
    far, _ = render(crowd_mesh, position=(0.03, -0.02, 0), size=(216, 288))
    assert far.max() > 0


def test_what_the_foreground_hid_appears_when_the_camera_moves(two_layers):
    camera = Camera(96, 64)
    mesh = build_mesh(two_layers, camera)
    picture, alpha = render(mesh, position=(0.04, 0, 0))
    inner = np.s_[8:56, 8:88]
    assert alpha[inner].min() == 1
    blue = np.rint(np.array([0.1, 0.2, 0.9]) * 255)
    blended = (np.abs(picture - blue).max(-1) > 2) & (picture.min(-1) < 253)
    assert not blended[inner].any()
    assert (picture.min(-1) > 250).any()


def test_parallax_is_that_of_the_camera(two_layers):
    mesh = build_mesh(two_layers, Camera(96, 64))

    def column_of_square(position):
        white = render(mesh, position=position)[0].min(-1) > 128
        return np.argwhere(white)[:, 1].mean()

    moved = column_of_square((0.05, 0, 0)) - column_of_square((0, 0, 0))
    assert moved == pytest.approx(-0.05 * Camera(96, 64).focal * (0.8 * 0.8 + 0.2), abs=0.6)


@pytest.mark.parametrize("triangles", [60, 300, 3000])
def test_the_budget_of_triangles_is_kept(two_layers, triangles):
    mesh = build_mesh(two_layers, Camera(96, 64), MeshSettings(triangles=triangles))
    assert len(mesh.triangles) <= triangles
    assert render(mesh)[1].min() == 1


@pytest.mark.parametrize("triangles", [600, 900])
def test_few_triangles_leave_no_holes(crowd, camera, triangles):
    mesh = build_mesh(crowd, camera, MeshSettings(triangles=triangles))
    assert len(mesh.triangles) <= triangles
    assert (render(mesh)[1] == 1).all()
    assert psnr(render(mesh)[0], photo_of(crowd)) > 25
    with pytest.raises(UserError, match="triangles and 40 were allowed"):
        build_mesh(crowd, camera, MeshSettings(triangles=40))


def test_degenerate_depth():
    flat = from_photo(soft_picture(20, 30), np.zeros((20, 30)))
    mesh = build_mesh(flat, Camera(30, 20))
    assert psnr(render(mesh)[0], photo_of(flat)) > 45
    noise = np.random.default_rng(0).uniform(0, 1, (20, 30))
    mesh = build_mesh(from_photo(soft_picture(20, 30), noise), Camera(30, 20))
    assert render(mesh)[1].min() == 1


def test_wrong_input_is_one_sentence(one_layer):
    with pytest.raises(UserError, match="photo is 64x96 and"):
        build_mesh(one_layer, Camera(64, 96))
    dark = replace(one_layer, colour=np.full_like(one_layer.colour, np.nan))
    with pytest.raises(UserError, match="not finite"):
        build_mesh(dark, Camera(96, 64))
    with pytest.raises(UserError, match="bytes"):
        build_mesh(one_layer, Camera(96, 64), MeshSettings(size=1500))
    with pytest.raises(UserError, match="triangles is 1"):
        MeshSettings(triangles=1)
