"""`kinema photo3d` with a stand-in for the depth network: what is bright is near."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from kinema.media import Video
from kinema.media.depth import Depth

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def bright_is_near(monkeypatch):
    def estimate(photo):
        half = photo[::2, ::2].mean(-1).astype(np.float32) / 255  # not at the photo's own size
        return Depth(half + np.float32(0.1), "relative_disparity")

    monkeypatch.setattr("kinema.cli.photo3d.open_estimator", lambda *_: SimpleNamespace(estimate=estimate))


@pytest.fixture
def photo(tmp_path):
    pixels = np.full((24, 32, 3), 60, np.uint8)
    pixels[8:16, 10:20] = 220
    picture = PIL.Image.fromarray(pixels)
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 18
    picture.save(tmp_path / "p.jpg", exif=exif, quality=95)
    return tmp_path / "p.jpg"


def test_a_photo_becomes_files(kinema, photo):
    answer = kinema("photo3d", "p.jpg", "--html", "p.html", "--video", "p.mp4", "--path", "swing", "--json")
    assert answer.code == 0, answer
    (found,) = answer.document["photos"]
    assert found["files"] == ["p.glb", "p.html", "p.mp4"]
    assert found["field_of_view"] == pytest.approx(2 * np.degrees(np.arctan(0.8 * 43.2666 / 2 / 18)), abs=0.1)
    assert list(found["seconds"]) == ["read", "depth", "layers", "colours", "mesh", "write", "page", "video"]
    assert (photo.parent / "p.glb").read_bytes()[:4] == b"glTF"
    assert found["bytes"] == (photo.parent / "p.glb").stat().st_size
    video = Video.read("p.mp4")
    assert video.frames.shape[1:] == (24, 32, 3)
    assert video.num_frames == 120


def test_stages_are_printed_and_nothing_is_overwritten(kinema, photo):
    answer = kinema("photo3d", "p.jpg", "-o", "new/out.glb", "--triangles", "300")
    assert answer.code == 0
    assert answer.out.startswith("wrote new/out.glb (")
    assert "mesh " in answer.out
    again = kinema("photo3d", "p.jpg", "-o", "new/out.glb")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert kinema("photo3d", "p.jpg", "-o", "new/out.glb", "--overwrite").code == 0


def test_a_folder(kinema, photo):
    for name in ("b.png", "p.png"):
        PIL.Image.open(photo).save(photo.with_name(name))
    photo.with_name("notes.txt").write_text("not a photo")
    photo.with_name("cut.jpg").write_bytes(photo.read_bytes()[:300])
    answer = kinema("photo3d", ".", "-o", "out", "--html", "pages", "--json")
    assert answer.code == 1
    assert list(answer.document["failed"]) == ["cut.jpg"]
    made = sorted(str(file.relative_to(photo.parent)) for file in photo.parent.rglob("*.glb"))
    assert made == ["out/b.glb", "out/p.jpg.glb", "out/p.png.glb"]
    assert len(list((photo.parent / "pages").iterdir())) == 3


def test_of_what_moves_the_first_picture_is_taken_and_that_is_said(kinema, photo):
    still = PIL.Image.open(photo)
    still.save(photo.with_name("a.gif"), save_all=True, append_images=[still.rotate(180)])
    still.save(photo.with_name("a.webp"), lossless=True)
    Video(np.stack([np.asarray(still), np.asarray(still)[::-1]]), 8).write(photo.with_name("a.mp4"))
    for name, note in (
        ("a.gif", "  note: the first picture of an animation."),
        ("a.mp4", "  note: the first frame of a video."),
        ("a.webp", None),
    ):
        answer = kinema("photo3d", name, "--overwrite")
        assert answer.code == 0, answer
        assert answer.out.splitlines()[1:] == ([note] if note else [])
        assert (photo.parent / "a.glb").read_bytes()[:4] == b"glTF"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["none.jpg"], "does not exist"),
        (["empty"], "holds no photos"),
        (["p.jpg", "-o", "p.obj"], "ends in .glb"),
        (["p.jpg", "--path", "spiral"], "circle, dolly or swing"),
        (["p.jpg", "--triangles", "1"], "triangles is 1"),
        (["p.jpg", "--video", "p.gif"], "ends in .mp4"),
        (["dot.png"], "has 1x1 pixels"),
        (["strip.png"], "a panorama"),
        ([".", "--depth", "d.png"], "photo by photo"),
    ],
)
def test_bad_input_is_one_sentence(kinema, photo, arguments, why):
    photo.with_name("empty").mkdir()
    PIL.Image.new("RGB", (1, 1)).save(photo.with_name("dot.png"))
    PIL.Image.new("RGB", (6000, 20)).save(photo.with_name("strip.png"))
    answer = kinema("photo3d", *arguments)
    assert answer.code == 2
    assert why in answer.err
    assert answer.err.count("\n") == 1
    assert not list(photo.parent.rglob("*.glb"))
