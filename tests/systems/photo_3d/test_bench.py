"""The bench of the two networks: figures of what is known beforehand."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("numba")
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from kinema.errors import UserError
from kinema.systems.photo_3d.bench import RowPrior, evaluate_depth, evaluate_inpainting
from kinema.systems.photo_3d.depth import DepthEstimator


class Diffusion(torch.nn.Module):
    def forward(self, known, guess, there):
        return guess


def test_a_network_that_knows_only_rows_is_level_with_the_rows():
    seen = []
    flat = DepthEstimator(RowPrior(torch.zeros(1, 1, 8, 1)), long_side=64)
    report = evaluate_depth(flat, num_prompts=20, progress=lambda done, total: seen.append((done, total)))
    scenes = report["held-out scenes, log error"]
    assert scenes["network"] == pytest.approx(scenes["constant"])
    assert scenes["rows"] < scenes["constant"]
    assert seen == [(16, 20), (20, 20)]
    assert report["Motorcycle"]["r2"] == pytest.approx(0.0, abs=1e-6)
    assert report["Motorcycle, rows alone"]["r2"] > 0.2
    assert evaluate_depth(flat, num_prompts=4, seed=1) != evaluate_depth(flat, num_prompts=4)


def test_diffusion_is_level_with_diffusion():
    report = evaluate_inpainting(Diffusion(), num_prompts=26)
    assert report["psnr"] == report["diffusion_psnr"]
    assert report["detail"] == report["diffusion_detail"] < 1
    assert 10 < report["psnr"] < 30


def test_neither_samples():
    with pytest.raises(UserError, match="leave out --steps"):
        evaluate_inpainting(Diffusion(), steps=3)
