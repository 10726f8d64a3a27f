"""PSNR and SSIM against their definitions and scikit-image."""

import math

import pytest
import torch

from kinema.errors import UserError
from kinema.eval.fidelity import psnr, ssim, ssim_map


def _pictures(seed: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(2, 3, 24, 31, generator=generator) * 2 - 1
    return a, (a + noise * torch.randn(a.shape, generator=generator)).clamp(-1, 1)


def test_psnr_of_a_known_error():
    a = torch.zeros(2, 3, 8, 8)
    value = psnr(a, a + torch.tensor([0.1, 0.2])[:, None, None, None])
    assert value.tolist() == pytest.approx([10 * math.log10(4 / 0.01), 10 * math.log10(4 / 0.04)], rel=1e-5)
    assert psnr(a, a).isinf().all()


@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_ssim_and_psnr_agree_with_scikit_image(noise: float):
    metrics = pytest.importorskip("skimage.metrics")
    a, b = _pictures(0, noise)
    for first, second, similarity, ratio in zip(a, b, ssim(a, b), psnr(a, b), strict=True):
        expected = metrics.structural_similarity(
            first.double().numpy(),
            second.double().numpy(),
            channel_axis=0,
            data_range=2.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(similarity) == pytest.approx(expected, abs=1e-5)
        assert float(ratio) == pytest.approx(
            metrics.peak_signal_noise_ratio(first.double().numpy(), second.double().numpy(), data_range=2.0),
            abs=1e-4,
        )


def test_ssim_is_one_for_equals_symmetric_and_keeps_leading_axes():
    a, b = _pictures(1, 0.2)
    assert ssim(a, a).tolist() == pytest.approx([1.0, 1.0])
    assert torch.equal(ssim(a, b), ssim(b, a))
    assert ssim(a[None], b[None]).shape == (1, 2)
    # The measure does not change when both pictures and their range are scaled alike.
    assert torch.allclose(ssim(a * 100, b * 100, data_range=200.0), ssim(a, b), atol=1e-6)


def test_unequal_or_tiny_pictures_are_refused():
    with pytest.raises(UserError, match="expected equal"):
        psnr(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9))
    with pytest.raises(UserError, match="11-pixel window"):
        ssim(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))


def test_the_map_of_ssim_has_its_mean_and_is_local():
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(2, 3, 30, 40, generator=generator)
    b = a.clone()
    b[..., 25] = 0
    where = ssim_map(a, b, data_range=1.0)
    assert where.shape == (2, 3, 20, 30)
    assert torch.allclose(where.mean((1, 2, 3)).float(), ssim(a, b, data_range=1.0))
    changed = (where < 1 - 1e-9).any(2).all(1).all(0)
    assert changed.nonzero().flatten().tolist() == list(range(15, 26))  # the window's columns around 25 - 5
