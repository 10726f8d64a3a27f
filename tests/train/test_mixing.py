"""Mixed batches: targets follow the pixels that are seen, and the shares have the distribution that was asked for."""

from __future__ import annotations

import pytest
import torch

from kinema.errors import UserError
from kinema.train.mixing import _beta, mixed, smooth_targets, soft_cross_entropy


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_smooth_targets_and_their_loss() -> None:
    targets = smooth_targets(torch.tensor([2, 0]), 4, 0.1)
    assert targets[0].tolist() == pytest.approx([0.025, 0.025, 0.925, 0.025])
    logits = torch.randn(2, 4, generator=seeded())
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0]), label_smoothing=0.1)
    torch.testing.assert_close(soft_cross_entropy(logits, targets), expected)


@pytest.mark.parametrize("settings", [(0.8, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("shape", [(4, 3, 24, 24), (4, 3, 2, 24, 24)])
def test_targets_tell_what_share_of_the_pixels_is_whose(
    shape: tuple[int, ...], settings: tuple[float, float]
) -> None:
    # Picture k is the constant k: its mean says what was mixed.
    images = torch.arange(4.0).view(4, *[1] * (len(shape) - 1)).expand(shape)
    for seed in range(20):
        out, targets = mixed(images, torch.eye(4), seeded(seed), *settings)
        torch.testing.assert_close(targets.sum(1), torch.ones(4))
        torch.testing.assert_close(out.flatten(1).mean(1), targets @ torch.arange(4.0), atol=1e-4, rtol=1e-4)
        if settings[0] == 0:
            assert set(out.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_both_are_drawn_and_neither_changes_nothing() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 16, 16)
    whole = [bool((mixed(images, torch.eye(4), seeded(s))[0] % 1 == 0).all()) for s in range(40)]
    assert 10 < sum(whole) < 36
    out, targets = mixed(images, torch.eye(4), seeded(), 0.0, 0.0)
    assert out is images
    assert torch.equal(targets, torch.eye(4))
    with pytest.raises(UserError, match="must not be negative"):
        mixed(images, torch.eye(4), seeded(), -1.0)


@pytest.mark.parametrize("a", [0.8, 1.0])
def test_shares_are_beta(a: float) -> None:
    generator = seeded()
    shares = torch.tensor([_beta(a, generator) for _ in range(2000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * a + 1)), abs=0.012)
