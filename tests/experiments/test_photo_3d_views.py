"""Experiments on 3D photos run from their command to a result, and the right camera's geometry is right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("skimage")
pytest.importorskip("scipy")

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "photo_3d"


def run(experiment, monkeypatch, name: str, out: Path) -> dict:
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--out", str(out)])
    experiment(name).main()
    result = json.loads((out / f"{name}.json").read_text())
    assert result["quick"]
    return result


def test_novel_view_quickly(experiment, monkeypatch, tmp_path):
    result = run(experiment, monkeypatch, "novel_view", tmp_path)
    rows = result["arms"]["truth"]
    assert len(rows) == 6
    assert all(set(row) == set(rows["holes"]) for row in rows.values())
    assert rows["holes"]["PSNR uncovered"] < min(
        row["PSNR uncovered"] for arm, row in rows.items() if arm != "holes"
    )
    assert rows["layers, diffusion"]["PSNR seen"] > rows["stretched sheet"]["PSNR seen"]
    assert rows["layers, diffusion"]["PSNR seen"] > result["reference"]["PSNR, linear"] - 2
    assert (tmp_path / "novel_view.webp").stat().st_size > 2000


def test_soft_edges_quickly(experiment, monkeypatch, tmp_path):
    result = run(experiment, monkeypatch, "soft_edges", tmp_path)
    assert result["arms"]["blur 0.0, offset 0"].keys() == {"rim 0", "rim 1"}


def test_what_the_right_camera_sees_of_a_block_before_a_wall(experiment):
    module = experiment("motorcycle")
    disparity = np.full((3, 30), 2.0, np.float32)
    disparity[:, 10:16] = 7.0  # lands in columns 3 to 8, and leaves 9 to 13 to nobody
    disparity[1, 20] = np.nan
    seen = module.seen_from_right(disparity)
    expected = np.full(30, 2.0)
    expected[3:9] = 7.0
    expected[9:14] = np.nan
    expected[28:] = np.nan
    np.testing.assert_array_equal(seen[0], expected)
    assert np.isnan(seen[1, 18])
    photo = np.zeros((3, 30, 3), np.uint8)
    pair = module.Pair(
        left=photo,
        right=photo,
        disparity=disparity,
        intrinsics=module.Intrinsics(focal=30.0, baseline=0.1, doffs=1.0),
    )
    areas = module.regions(pair)
    assert areas.uncovered.sum() == 15
    assert areas.uncovered[0, 9:14].all()
    assert not areas.valid[1, 18]  # what is unknown may be there
    assert not areas.valid[:, 28:].any()  # beyond the left photo
    np.testing.assert_array_equal(module.filled(disparity)[1], module.filled(disparity)[0])


def test_a_surface_that_leans_away_is_stretched_and_not_torn(experiment):
    module = experiment("motorcycle")
    slope = np.linspace(20, 5, 31, dtype=np.float32)[None].repeat(2, 0)
    seen = module.seen_from_right(slope)[0]
    first = np.flatnonzero(np.isfinite(seen))
    assert np.array_equal(first, np.arange(0, 26))
    np.testing.assert_allclose(seen[first], 20 - (first + 20) / 3, atol=1e-4)


def test_the_mesh_lands_where_the_disparity_says(experiment):
    """A wall of known disparity, rendered from the right camera, is the photo moved by as many columns."""
    module, novel_view = experiment("motorcycle"), experiment("novel_view")
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (24, 40, 3)).astype(np.uint8)
    disparity = np.full((24, 40), 6.0, np.float32)
    pair = module.Pair(
        left=photo,
        right=photo,
        disparity=disparity,
        intrinsics=module.Intrinsics(focal=55.0, cx=17.0, baseline=0.2, doffs=3.5),
    )
    image = novel_view.single_layer(photo, np.full((24, 40), 0.25, np.float32))
    picture, covered = novel_view.seen(pair, image, pair.camera(4.0, 12.0))
    assert (covered[:, :34] == 1).all()
    assert (covered[:, 34:] == 0).all()
    assert np.abs(picture[:, 1:33].astype(int) - photo[:, 7:39]).max() <= 1


def test_screen_filling_keeps_what_is_covered(experiment):
    novel_view = experiment("novel_view")
    picture = np.full((20, 20, 3), 90, np.uint8)
    covered = np.ones((20, 20), np.float32)
    picture[8:12, 8:12], covered[8:12, 8:12] = 0, 0
    filled, everywhere = novel_view.on_screen((picture, covered), "diffusion", None)
    assert everywhere.all()
    assert np.abs(filled.astype(int) - 90).max() <= 1
