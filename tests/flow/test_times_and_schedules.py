"""Laws of time against their densities; schedules against the figures that follow from their formula."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from kinema.flow import schedules, times
from tests.parity import assert_parity, peer

DENSITIES: dict[str, tuple[times.TimeLaw, Callable[[torch.Tensor], torch.Tensor]]] = {
    "uniform": (times.uniform, torch.ones_like),
    "stratified": (times.stratified, torch.ones_like),
    "logit_normal": (
        lambda n, g: times.logit_normal(n, g, mean=0.5, std=0.8),
        lambda t: (
            (-((t.logit() - 0.5) ** 2) / (2 * 0.64)).exp() / (t * (1 - t) * 0.8 * math.sqrt(2 * math.pi))
        ),
    ),
    "cosmap": (times.cosmap, lambda t: 2 / (math.pi * (1 - 2 * t + 2 * t**2))),
    "beta": (
        lambda n, g: times.beta(n, g, 1.5, 3.0),
        lambda t: t**0.5 * (1 - t) ** 2 * math.gamma(4.5) / (math.gamma(1.5) * math.gamma(3)),
    ),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_draws_follow_the_density(name: str) -> None:
    law, density = DENSITIES[name]
    t = law(200_000, torch.Generator().manual_seed(0))
    assert t.shape == (200_000,)
    assert t.dtype == torch.float32
    assert 0 <= t.min() <= t.max() <= 1
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    middles = (grid[1:] + grid[:-1]) / 2
    mass = (density(middles) / 20_000).view(20, -1).sum(1)
    assert mass.sum().item() == pytest.approx(1, abs=1e-3)
    counts = torch.histc(t.double(), 20, 0, 1) / len(t)
    assert (counts - mass).abs().max() < 0.003


def test_mode_law_is_the_published_map() -> None:
    u = times.uniform(1000, torch.Generator().manual_seed(3))
    t = times.mode(1000, torch.Generator().manual_seed(3), scale=1.29)
    published = 1 - u - 1.29 * (torch.cos(torch.pi / 2 * u) ** 2 - 1 + u)  # sigma = 1 - t
    torch.testing.assert_close(1 - t, published, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="scales from"):
        times.mode(3, torch.Generator(), scale=2.0)


def test_stratified_has_one_draw_in_each_interval() -> None:
    t = times.stratified(64, torch.Generator().manual_seed(0))
    assert torch.equal((t * 64).floor().sort().values, torch.arange(64.0))
    assert not torch.equal(t, t.sort().values)


@pytest.mark.parametrize(
    ("emulate", "expected"),
    [
        (250, {24: 0.096, 25: 0.1, 30: 0.152, 40: 0.448, 49: 0.9333}),
        (1000, {24: 0.024, 25: 0.025, 30: 0.068, 40: 0.382, 49: 0.9245}),
    ],
)
def test_linear_quadratic_values(emulate: int, expected: dict[int, float]) -> None:
    t = schedules.linear_quadratic(50, emulate)
    assert t.dtype == torch.float64
    for step, value in expected.items():
        assert t[step].item() == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize(("steps", "emulate"), [(1, 250), (2, 250), (5, 5), (7, 30), (50, 250), (50, 1000)])
def test_schedules_rise_from_zero_to_one(steps: int, emulate: int) -> None:
    for t in (schedules.linear(steps), schedules.linear_quadratic(steps, emulate)):
        assert t.shape == (steps + 1,)
        assert t[0] == 0
        assert t[-1] == 1
        assert (t.diff() > 0).all()


def test_first_half_is_the_fine_linear_schedule_and_the_slope_is_continuous() -> None:
    t = schedules.linear_quadratic(50, 250)
    torch.testing.assert_close(t[:26], schedules.linear(250)[:26], atol=1e-12, rtol=0)
    second = t.diff().diff()
    torch.testing.assert_close(second[25:], second[25:26].expand(24), atol=1e-12, rtol=0)
    slope_at_join = t[26] - t[25] - second[25] / 2  # of the parabola through the second half
    assert slope_at_join.item() == pytest.approx(1 / 250, abs=1e-12)


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="emulate=40"):
        schedules.linear_quadratic(50, 40)
    with pytest.raises(ValueError, match="at least one step"):
        schedules.linear(0)
    with pytest.raises(ValueError, match="positive"):
        schedules.shift(schedules.linear(3), 0)


def test_shift_is_the_sigma_shift_and_inverts() -> None:
    t = schedules.linear(20)
    sigma = 1 - t
    torch.testing.assert_close(1 - schedules.shift(t, 3.0), 3 * sigma / (1 + 2 * sigma))
    torch.testing.assert_close(schedules.shift(schedules.shift(t, 3.0), 1 / 3), t)


@pytest.mark.parametrize(("steps", "emulate"), [(50, 250), (50, 1000), (64, 1000), (7, 30)])
def test_linear_quadratic_equals_mochi(steps: int, emulate: int) -> None:
    peer("diffusers")
    from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

    sigmas = linear_quadratic_schedule(steps, (steps // 2) / emulate)
    theirs = 1 - torch.tensor(sigmas, dtype=torch.float64)
    assert_parity(schedules.linear_quadratic(steps, emulate)[:-1], theirs, 1e-12)


@pytest.mark.parametrize("factor", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("steps", [1, 6, 50])
def test_shifted_schedule_equals_diffusers(steps: int, factor: float) -> None:
    """Given equal steps of the noise level, as Wan's own programs place them; their default ends a little earlier."""
    scheduler = peer("diffusers").FlowMatchEulerDiscreteScheduler(shift=factor)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1])
    ours = schedules.shift(schedules.linear(steps), factor)
    torch.testing.assert_close(1 - ours, scheduler.sigmas.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(1000 * (1 - ours[:-1]), scheduler.timesteps.double(), atol=1e-3, rtol=0)
