"""Losses and measures by closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from kinema.systems.photo_3d.depth_losses import (
    aligned,
    centred,
    log_disparity_loss,
    multi_scale_gradient,
    scale_invariant,
    scale_invariant_error,
    scale_shift_invariant,
)


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(4)
    true = 0.1 + torch.rand(3, 1, 16, 24, generator=generator)
    guess = 0.1 + torch.rand(3, 1, 16, 24, generator=generator)
    return guess, true, torch.ones_like(true, dtype=torch.bool)


def test_scale_invariant_is_the_variance_of_the_logs(maps):
    guess, true, valid = maps
    error = (guess.log() - true.log()).flatten(1)
    want = error.var(1, correction=0)
    torch.testing.assert_close(scale_invariant(guess.log(), true.log(), valid), want.mean())
    torch.testing.assert_close(scale_invariant_error(guess.log(), true.log(), valid), want.sqrt())


def test_a_factor_costs_nothing_and_a_known_pattern_costs_what_it_must(maps):
    _, true, valid = maps
    loss, _ = log_disparity_loss((7 * true).log(), true, valid)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    half = true.log()
    half[..., :12] += 2.0  # half of the picture off by 2: variance 1
    loss, logs = log_disparity_loss(half, true, valid, gradient=0.0)
    assert float(loss) == pytest.approx(1.0, abs=1e-5)
    assert float(logs["data"]) == pytest.approx(1.0, abs=1e-5)


def test_the_gradient_of_a_ramp_is_its_slope_at_every_scale():
    ramp = 0.5 * torch.arange(16.0).expand(1, 1, 16, 16)
    valid = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    assert float(multi_scale_gradient(ramp, valid)) == pytest.approx(0.5 * (1 + 2 + 4 + 8))
    assert float(multi_scale_gradient(ramp.mT + ramp, valid, scales=1)) == pytest.approx(1.0)


def test_what_is_not_valid_counts_for_nothing(maps):
    guess, true, valid = maps
    valid = valid.clone()
    valid[:, :, 5:9, 3:11] = False
    for loss in (log_disparity_loss, scale_shift_invariant):
        predicted = guess.log() if loss is log_disparity_loss else guess
        spoiled, wrong = predicted.clone(), true.clone()
        spoiled[~valid], wrong[~valid] = 50.0, float("nan")
        spoiled.requires_grad_(True)
        value, _ = loss(spoiled, wrong, valid)
        assert value.item() == pytest.approx(loss(predicted, true, valid)[0].item(), rel=1e-4)
        value.backward()
        assert spoiled.grad.isfinite().all()
        assert (spoiled.grad[~valid] == 0).all()


def test_a_picture_without_any_truth_is_no_disaster(maps):
    guess, true, valid = maps
    none = valid.clone()
    none[0] = False
    for loss in (log_disparity_loss, scale_shift_invariant):
        assert math.isfinite(float(loss(guess, true, none)[0]))


def test_scale_and_shift_are_taken_out(maps):
    guess, true, valid = maps
    value, _ = scale_shift_invariant(3 * true - 5, true, valid)
    assert float(value) == pytest.approx(0.0, abs=1e-4)
    one, _ = scale_shift_invariant(guess, true, valid)
    torch.testing.assert_close(
        scale_shift_invariant(3 * guess - 5, true, valid)[0], one, atol=1e-4, rtol=1e-4
    )
    flat = centred(guess, valid)
    torch.testing.assert_close(flat.flatten(1).abs().mean(1), torch.ones(3))
    assert float(flat.flatten(1).median(1).values.abs().max()) < 1e-6


def test_the_robust_loss_leaves_out_a_fifth(maps):
    _, true, valid = maps
    spoiled = true.clone()
    spoiled[:, :, :3] = true[:, :, :3] + 0.4  # 3 of 16 rows: less than a fifth; the median moves a little
    trimmed, _ = scale_shift_invariant(spoiled, true, valid, gradient=0.0)
    whole = (centred(spoiled, valid) - centred(true, valid)).abs().mean() / 2
    assert float(trimmed) < 0.7 * float(whole)


def test_alignment_is_least_squares(maps):
    guess, true, valid = maps
    torch.testing.assert_close(aligned(2 * true - 3, true, valid), true, atol=1e-5, rtol=1e-5)
    best = aligned(guess, true, valid)
    for k in range(3):
        system = torch.stack([guess[k].flatten(), torch.ones(16 * 24)], 1)
        want = system @ torch.linalg.lstsq(system, true[k].flatten()[:, None]).solution
        torch.testing.assert_close(best[k].flatten(), want[:, 0], atol=1e-4, rtol=1e-4)
