"""Every experiment runs from its command to a result and a plot, and what they measure with is right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "movie_gen_video"
NAMES = (
    "schedule",
    "schedule_exact",
    pytest.param("flow_matching_vs_diffusion", marks=pytest.mark.slow),
    pytest.param("warm_start", marks=pytest.mark.slow),
    pytest.param("outlier_penalty", marks=pytest.mark.slow),
    pytest.param("pictures_mixed_in", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("name", NAMES)
def test_quick_run_writes_figures_and_a_plot(name, quick):
    quick(name)


def test_mixture_velocity_is_that_of_the_path(experiment):
    """Its Euler solution ends in the mixture: near one mean each, `std` about it in every coordinate."""
    schedule = experiment("schedule_exact")
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(4, 64, generator=generator)
    noise = torch.randn(512, 64, generator=generator)
    end = schedule.euler(schedule.mixture_velocity(means, 0.3), noise, schedule.linear(400))
    nearest = torch.cdist(end, means).argmin(1)
    assert nearest.bincount(minlength=4).min() > 60
    assert (end - means[nearest]).std().item() == pytest.approx(0.3, rel=0.05)


def test_ddim_with_the_true_v_of_one_point_ends_there(experiment):
    """For data that is one point, v is known exactly and DDIM returns the point."""
    diffusion = experiment("flow_matching_vs_diffusion")
    point = torch.randn(1, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))

    def network(x, t):
        signal = diffusion.diffusion.signal_at(t, diffusion.SIGNAL)
        scale = (1 - signal.square()).sqrt().view(-1, 1, 1, 1, 1)
        noise = (x - signal.view(-1, 1, 1, 1, 1) * point) / scale.clamp_min(1e-9)
        return diffusion.diffusion.v_target(noise.float(), point.expand_as(x), signal)

    noise = torch.randn(5, 3, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    made = diffusion.ddim(network, noise, steps=10)
    assert (made - point).abs().max() < 0.15  # the cleanest level keeps 3 % noise
    assert (made - point).abs().max() < 0.1 * (noise - point).abs().max()


def test_outliers_are_counted_by_the_paper_s_measure(experiment):
    outliers = experiment("outlier_penalty").outliers
    latent = torch.randn(1, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert outliers(latent)[0] == 0.0
    latent[0, :, 0, 3, 5] = 20.0
    share, largest = outliers(latent)
    assert share == pytest.approx(1 / 256)
    assert largest > 10


def test_arms_of_the_warm_start_cost_what_they_say(experiment):
    warm = experiment("warm_start")
    clip, picture = 100, 110
    plans = warm.plans(clip, picture)
    joint = clip + (picture - clip) / warm.PICTURE_EVERY
    samples = warm.BATCH + (warm.PICTURES_A_STEP - warm.BATCH) / warm.PICTURE_EVERY
    scratch = plans["joint from scratch"]
    seen = {n: first * warm.PICTURES_A_STEP + then * samples for n, (first, then) in plans.items()}
    cost = {n: first * picture + then * joint for n, (first, then) in plans.items()}
    assert scratch[0] == 0
    assert seen["pictures first, equal samples"] == pytest.approx(seen["joint from scratch"], rel=0.02)
    assert cost["pictures first, equal compute"] == pytest.approx(cost["joint from scratch"], rel=0.02)
