"""The Frechet distance against what is known in closed form."""

import pytest
import torch

from kinema.errors import UserError
from kinema.eval.frechet import Gaussian, fit_gaussian, frechet_between, frechet_distance


def _random_covariance(size: int, seed: int) -> torch.Tensor:
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T / size


def test_commuting_covariances_have_a_closed_form():
    # With a common eigenbasis the distance is |m1 - m2|^2 + sum (sqrt(l1) - sqrt(l2))^2.
    basis = torch.linalg.qr(_random_covariance(6, 0)).Q
    first, second = torch.tensor([0.0, 1, 2, 3, 4, 9]).double(), torch.tensor([4.0, 1, 0, 5, 16, 1]).double()
    a = Gaussian(torch.zeros(6).double(), basis @ first.diag() @ basis.T)
    b = Gaussian(torch.full((6,), 0.5).double(), basis @ second.diag() @ basis.T)
    expected = 6 * 0.25 + float((first.sqrt() - second.sqrt()).square().sum())
    assert frechet_between(a, b) == pytest.approx(expected, rel=1e-6)


def test_general_covariances_agree_with_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    c1, c2 = _random_covariance(8, 1), _random_covariance(8, 2)
    a, b = Gaussian(torch.zeros(8).double(), c1), Gaussian(torch.ones(8).double(), c2)
    root = linalg.sqrtm((c1 @ c2).numpy()).real
    expected = 8 + float(c1.trace() + c2.trace()) - 2 * float(root.trace())
    assert frechet_between(a, b) == pytest.approx(expected, rel=1e-8)


def test_the_distance_is_a_symmetric_distance_and_knows_a_shift():
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(3))
    y = 2 * torch.randn(300, 5, generator=torch.Generator().manual_seed(4))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)
    assert frechet_distance(x, x + 3.0) == pytest.approx(45.0, rel=1e-6)


def test_fewer_clips_than_features_still_give_a_distance():
    x = torch.randn(10, 40, generator=torch.Generator().manual_seed(5))
    assert frechet_distance(x, x + 1) == pytest.approx(40.0, rel=1e-5)


def test_what_is_no_feature_table_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        fit_gaussian(torch.zeros(1, 3))
    with pytest.raises(UserError, match="not finite"):
        fit_gaussian(torch.full((4, 3), torch.nan))
    with pytest.raises(UserError, match=r"\(N, D\) and \(M, D\)"):
        frechet_distance(torch.zeros(4, 3), torch.zeros(4, 2))
