"""Depth that says what it is: conversions by identity, refusals instead of guesses, files that read back."""

from __future__ import annotations

import json
import struct

import numpy as np
import PIL.Image
import pytest

from kinema.errors import UserError
from kinema.media import Provenance
from kinema.media.colours import coloured
from kinema.media.depth import KINDS, Depth, Intrinsics

CAMERA = Intrinsics(focal=500.0, cx=15.5, cy=11.5, baseline=0.1, doffs=4.0)


def ramp(kind="relative_disparity", camera=None, low=0.5, high=8.0) -> Depth:
    values = np.linspace(low, high, 24 * 32, dtype=np.float32).reshape(24, 32)
    return Depth(values, kind, camera)


def test_metres_and_pixels_are_inverse_of_each_other():
    pixels = ramp("disparity_px", CAMERA)
    metres = pixels.to_metres()
    assert (metres.kind, metres.unit, metres.large_is) == ("depth_m", "metres along the camera's axis", "far")
    assert metres.values[0, 0] == pytest.approx(500 * 0.1 / (0.5 + 4.0))
    np.testing.assert_allclose(metres.to_pixels().values, pixels.values, rtol=1e-5, atol=1e-5)
    assert pixels.to_pixels() is pixels


def test_inverse_distance_is_the_same_from_both():
    pixels = ramp("disparity_px", CAMERA)
    ratio = pixels.to_relative().values / pixels.to_metres().to_relative().values
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_what_has_no_distance_becomes_unknown():
    values = np.array([[-5.0, -4.0, 1.0, np.nan]], np.float32)
    metres = Depth(values, "disparity_px", CAMERA).to_metres()
    assert metres.known.tolist() == [[False, False, True, False]]
    behind = Depth(np.array([[0.0, -1.0, 2.0]], np.float32), "depth_m", CAMERA)
    assert behind.to_pixels().known.tolist() == behind.to_relative().known.tolist() == [[False, False, True]]


REFUSED = {
    "relative to metres": (lambda: ramp().to_metres(), "known up to a factor only, so no metres"),
    "relative to pixels": (lambda: ramp(camera=CAMERA).to_pixels(), "known up to a factor only"),
    "pixels without a camera": (
        lambda: ramp("disparity_px").to_metres(),
        "needs the focal length and the baseline",
    ),
    "no baseline": (
        lambda: ramp("depth_m", Intrinsics(focal=5.0)).to_pixels(),
        "needs the focal length and the base",
    ),
    "pixels without doffs": (lambda: ramp("disparity_px").to_relative(), "shift of the principal points"),
    "an unknown kind": (lambda: ramp("depth"), "'depth' is no kind of depth: choose relative_disparity"),
    "another shape": (lambda: Depth(np.zeros((2, 2, 1), np.float32), "depth_m"), "shape (2, 2, 1)"),
    "another type": (lambda: Depth(np.zeros((2, 2)), "depth_m"), "type float64"),
    "infinite": (lambda: Depth(np.full((2, 2), np.inf, np.float32), "depth_m"), "infinite values"),
    "a camera without focus": (lambda: Intrinsics(focal=0.0), "is no camera"),
    "a camera of NaN": (lambda: Intrinsics(focal=1.0, cx=float("nan")), "is no camera"),
    "nothing known": (
        lambda: Depth(np.full((2, 2), np.nan, np.float32), "depth_m").normalised(),
        "no known value",
    ),
    "holes resized": (
        lambda: Depth(np.array([[1, np.nan]], np.float32), "depth_m").resized(4, 4),
        "fill them first",
    ),
}


@pytest.mark.parametrize(("call", "sentence"), REFUSED.values(), ids=REFUSED)
def test_nothing_is_guessed(call, sentence):
    with pytest.raises(UserError) as caught:
        call()
    assert sentence in str(caught.value)


def test_normalised_is_one_where_it_is_nearest_whatever_the_kind():
    for one in (ramp(), ramp("disparity_px", CAMERA), ramp("depth_m")):
        flat = one.normalised()
        assert (flat.dtype, flat.min(), flat.max()) == (np.float32, 0.0, 1.0)
        nearest = one.values.max() if one.large_is == "near" else one.values.min()
        assert (flat[one.values == nearest] == 1).all()


def test_normalised_bears_outliers_holes_and_no_relief():
    values = np.linspace(1, 2, 10_000, dtype=np.float32).reshape(100, 100)
    values[0, 0], values[0, 1] = 1e6, np.nan
    flat = Depth(values, "relative_disparity").normalised()
    assert flat[50, 50] == pytest.approx(0.5, abs=0.02)
    assert (flat[0, 0], flat[0, 1]) == (1.0, 0.0)
    assert (Depth(np.full((4, 4), 3.0, np.float32), "relative_disparity").normalised() == 0.5).all()


def test_resizing_scales_pixels_and_the_camera():
    large = ramp("disparity_px", CAMERA).resized(48, 64)
    assert (large.height, large.width) == (48, 64)
    assert large.values.mean() == pytest.approx(2 * 4.25, rel=1e-3)
    assert (large.intrinsics.focal, large.intrinsics.cx, large.intrinsics.doffs) == (1000.0, 31.5, 8.0)
    np.testing.assert_allclose(
        large.to_metres().values.mean(), ramp("disparity_px", CAMERA).to_metres().values.mean(), rtol=1e-2
    )


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npy"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_read_back(tmp_path, suffix, kind):
    depth = ramp(kind, CAMERA if kind != "depth_m" else None)
    depth.values[3, 4] = np.nan
    depth = Depth(depth.values, kind, depth.intrinsics, {"kinema": Provenance(model="m", weights_hash="abc")})
    depth.write(tmp_path / f"a{suffix}")
    again = Depth.read(tmp_path / f"a{suffix}")
    assert (again.kind, again.intrinsics) == (kind, depth.intrinsics)
    assert again.metadata["kinema"].weights_hash == "abc"
    near = 7.5 / 65534 if suffix == ".png" else 0.0
    np.testing.assert_allclose(again.values, depth.values, atol=0.51 * near)
    with pytest.raises(UserError, match="exists already"):
        depth.write(tmp_path / f"a{suffix}")


def test_a_png_tells_anybody_what_its_numbers_are(tmp_path):
    depth = ramp("depth_m")
    depth.write(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as image:
        told = json.loads(image.text["kinema.depth"])
        numbers = np.array(image)
    assert (told["unit"], told["large_is"], told["scale_known"]) == (
        "metres along the camera's axis",
        "far",
        True,
    )
    assert (numbers.min(), numbers.max()) == (1, 65535)
    np.testing.assert_allclose(told["offset"] + told["step"] * numbers, depth.values, atol=1e-4)


def test_an_exr_has_the_parts_that_the_format_asks_for(tmp_path):
    depth = ramp("depth_m")
    depth.write(tmp_path / "a.exr")
    data = (tmp_path / "a.exr").read_bytes()
    assert struct.unpack_from("<2i", data) == (20000630, 2)
    # One float channel named Y: what readers without a notion of depth look for, too.
    assert data.index(b"channels\0chlist\0" + struct.pack("<i", 19) + b"Y\0" + struct.pack("<i", 2)) == 8
    names = [b"channels", b"compression", b"dataWindow", b"displayWindow", b"lineOrder", b"pixelAspectRatio",
             b"screenWindowCenter", b"screenWindowWidth"]  # fmt: skip
    assert all(name + b"\0" in data[: len(data) - 24 * 136] for name in names)
    first = len(data) - 24 * (8 + 4 * 32)  # where the lines begin, by the format: number, bytes, values
    offsets = np.frombuffer(data, "<u8", 24, first - 8 * 24)
    assert offsets.tolist() == [first + k * (8 + 4 * 32) for k in range(24)]
    assert struct.unpack_from("<2i", data, int(offsets[5])) == (5, 4 * 32)


def test_constant_depth_and_no_known_value_survive_a_png(tmp_path):
    Depth(np.full((4, 4), 3.0, np.float32), "depth_m").write(tmp_path / "a.png")
    assert (Depth.read(tmp_path / "a.png").values == 3.0).all()
    Depth(np.full((4, 4), np.nan, np.float32), "depth_m").write(tmp_path / "b.png")
    assert not Depth.read(tmp_path / "b.png").known.any()


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npy"])
def test_broken_and_foreign_files_are_one_sentence(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    ramp().write(path)
    whole = path.read_bytes()
    for spoiled in (
        b"",
        whole[:30],
        whole[: len(whole) // 2],
        whole[:-40],
        b"text",
        whole[:4] + b"\xff" * 40,
    ):
        path.write_bytes(spoiled)
        with pytest.raises(UserError, match=rf"a\{suffix}"):
            Depth.read(path)
    with pytest.raises(UserError, match="does not exist"):
        Depth.read(tmp_path / f"b{suffix}")


def test_a_picture_that_does_not_say_what_it_is_is_refused(tmp_path):
    PIL.Image.fromarray(np.ones((4, 4), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="does not say what its numbers are"):
        Depth.read(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.ones((4, 4), np.float32))
    with pytest.raises(UserError, match="does not say what its numbers are"):
        Depth.read(tmp_path / "a.npy")
    with pytest.raises(UserError, match="rename it"):
        ramp().write(tmp_path / "a.jpg")


def test_colours_grow_brighter_with_the_value():
    picture = coloured(np.linspace(-0.1, 1.1, 300)[None])
    light = picture[0].astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light) >= -1.0).all()
    assert light[-1] - light[0] > 200
    assert coloured(np.array([[np.nan]])).tolist() == [[[128, 128, 128]]]
