import io
import json
import struct

import numpy as np
import PIL.Image
import pytest

from kinema.errors import UserError
from kinema.systems.photo_3d.camera import Camera
from kinema.systems.photo_3d.glb import glb_bytes, write_glb
from kinema.systems.photo_3d.mesh import MeshSettings, TexturedMesh, build_mesh
from kinema.systems.photo_3d.page import page, write_page
from kinema.systems.photo_3d.viewing import View

VIEW = View(reach=0.07, upward=0.04, still_depth=2.0)


@pytest.fixture(scope="module")
def mesh():
    """Two triangles with a texture of one block."""
    camera = Camera(16, 16)
    texture = np.full((16, 16, 3), 90, np.uint8)
    out = io.BytesIO()
    PIL.Image.fromarray(texture).save(out, "JPEG")
    corners = np.array([[0, 0], [16, 0], [16, 16], [0, 16]], float)
    return TexturedMesh(
        positions=camera.unproject(corners[:, 0], corners[:, 1], [0.0, 0.5, 1.0, 0.2]).astype(np.float32),
        texcoords=(corners / 16).astype(np.float32),
        triangles=np.array([[0, 2, 1], [0, 3, 2]], np.int32),
        texture=texture,
        jpeg=out.getvalue(),
        camera=camera,
        median_depth=2.0,
        view=VIEW,
    )


def parse(data):
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert length % 4 == 0
    text = json.loads(data[20 : 20 + length])
    size, kind = struct.unpack_from("<I4s", data, 20 + length)
    assert kind == b"BIN\0"
    assert size % 4 == 0
    body = data[28 + length :]
    assert len(body) == size == text["buffers"][0]["byteLength"]
    return text, body


def test_structure(mesh):
    text, body = parse(glb_bytes(mesh))
    views = [body[v["byteOffset"] :][: v["byteLength"]] for v in text["bufferViews"]]
    assert all(view["byteOffset"] % 4 == 0 for view in text["bufferViews"])
    np.testing.assert_array_equal(np.frombuffer(views[0], "<f4").reshape(-1, 3), mesh.positions)
    np.testing.assert_allclose(
        np.frombuffer(views[1], "<u2").reshape(-1, 2) / 65535, mesh.texcoords, atol=1e-5
    )
    np.testing.assert_array_equal(np.frombuffer(views[2], "<u2").reshape(-1, 3), mesh.triangles)
    assert views[3] == mesh.jpeg
    position = text["accessors"][0]
    assert position["min"] == mesh.positions.min(0).tolist()
    assert position["max"] == mesh.positions.max(0).tolist()
    assert text["asset"]["generator"] == "kinema"
    assert text["extras"]["camera"]["far"] == 5
    assert text["extras"]["view"] == {"reach": 0.07, "upward": 0.04, "still_depth": 2.0, "overscan": 1.06}
    assert text["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def test_many_vertices_take_wide_indices(mesh):
    many = np.zeros((70_000, 3), np.float32)
    text, _ = parse(
        glb_bytes(
            TexturedMesh(
                positions=many,
                texcoords=many[:, :2],
                triangles=np.array([[0, 1, 69_999]], np.int32),
                texture=mesh.texture,
                jpeg=mesh.jpeg,
                camera=mesh.camera,
                median_depth=1.0,
                view=VIEW,
            )
        )
    )
    assert text["accessors"][2]["componentType"] == 5125


def test_it_loads_elsewhere(mesh, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    write_glb(mesh, tmp_path / "a.glb")
    (found,) = trimesh.load(tmp_path / "a.glb").geometry.values()
    np.testing.assert_allclose(found.bounds, [mesh.positions.min(0), mesh.positions.max(0)])
    assert len(found.faces) == 2
    front = np.einsum("ij,ij->i", found.face_normals, -found.triangles_center)
    assert (front > 0).all()  # towards the camera at the origin


def test_built_triangles_face_the_camera_and_the_file_keeps_its_size(two_layers):
    made = build_mesh(two_layers, Camera(96, 64), MeshSettings(size=30_000))
    assert len(glb_bytes(made)) <= 30_000
    a, b, c = (made.positions[made.triangles[:, k]].astype(float) for k in range(3))
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a) <= 1e-9).all()
    small = build_mesh(two_layers, Camera(96, 64), MeshSettings(size=9_000))
    assert len(glb_bytes(small)) <= 9_000


def test_a_file_that_is_there_is_kept(mesh, tmp_path):
    (tmp_path / "a.glb").write_text("mine")
    with pytest.raises(UserError, match="exists"):
        write_glb(mesh, tmp_path / "a.glb")
    assert (tmp_path / "a.glb").read_text() == "mine"


def test_the_page_holds_everything_and_its_title_is_text(mesh, tmp_path):
    data = glb_bytes(mesh)
    text = page(data, 'A <b>"bold"</b> & {{glb}} title')
    assert "<title>A &lt;b&gt;&quot;bold&quot;&lt;/b&gt; &amp; {{glb}} title</title>" in text
    assert "three.js authors" in text
    assert text.lower().count("</script>") == 2
    assert "src=" not in text.split("</style>")[0]
    write_page(data, tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size < 800_000
    with pytest.raises(UserError, match=r"no \.glb"):
        page(b"GIF8")
