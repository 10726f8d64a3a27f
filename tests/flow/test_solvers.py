"""Solvers on equations whose answers are known, guidance, and the loss."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from kinema.flow import flow_matching_loss, guided, paths, schedules, solvers
from tests.parity import peer

ORDERS = [(solvers.euler, 1), (solvers.midpoint, 2), (solvers.heun, 2)]
Solver = Callable[..., Tensor]


def growing(x: Tensor, t: Tensor) -> Tensor:
    """dx/dt = cos(t) x, so x(1) = x(0) exp(sin 1)."""
    return torch.cos(t)[:, None] * x


@pytest.mark.parametrize(("solver", "order"), ORDERS)
def test_order_of_convergence(solver: Solver, order: int) -> None:
    start = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    exact = start * math.exp(math.sin(1))
    errors = [(solver(growing, start, schedules.linear(n)) - exact).abs().max().item() for n in (40, 80, 160)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("solver", "order"), ORDERS)
def test_a_straight_path_is_exact_in_any_steps(solver: Solver, order: int) -> None:
    noise, data = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    velocity = paths.velocity_target(noise, data, sigma_min=0.0)
    for times in (schedules.linear(1), schedules.linear_quadratic(10, 50)):
        torch.testing.assert_close(solver(lambda x, t: velocity, noise, times), data)


@pytest.mark.parametrize(("solver", "order"), ORDERS)
def test_on_step_sees_every_state_and_times_are_a_batch(solver: Solver, order: int) -> None:
    seen: list[tuple[int, Tensor]] = []
    asked: list[Tensor] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return growing(x, t)

    x = torch.ones(3, 2)
    end = solver(velocity, x, schedules.linear(4), on_step=lambda i, state: seen.append((i, state)))
    assert [i for i, _ in seen] == [1, 2, 3, 4]
    assert torch.equal(seen[-1][1], end)
    assert end.dtype == torch.float32
    assert len(asked) == 4 * order
    assert all(t.shape == (3,) and t.dtype == torch.float32 for t in asked)


@pytest.mark.parametrize("method", ["euler", "midpoint"])
def test_solvers_equal_torchdiffeq(method: str) -> None:
    torchdiffeq = peer("torchdiffeq")
    start = torch.randn(2, 3, dtype=torch.float64)
    times = schedules.linear_quadratic(12, 60)
    theirs = torchdiffeq.odeint(lambda t, x: growing(x, t.expand(2)), start, times, method=method)[-1]
    ours = getattr(solvers, method)(growing, start, times)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_guidance_is_its_formula_in_one_call() -> None:
    calls = 0

    def velocity(x: Tensor, t: Tensor, shift: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x * t[:, None] + shift

    x, t = torch.randn(2, 3, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    shift = torch.randn(4, 3, dtype=torch.float64)  # conditional half, then unconditional half
    cond, uncond = velocity(x, t, shift[:2]), velocity(x, t, shift[2:])
    calls = 0
    torch.testing.assert_close(guided(velocity, 7.5)(x, t, shift), uncond + 7.5 * (cond - uncond))
    assert calls == 1
    torch.testing.assert_close(guided(velocity, 1.0)(x, t, shift), cond)
    torch.testing.assert_close(guided(velocity, 0.0)(x, t, shift), uncond)


def test_loss_is_zero_for_the_true_velocity_and_repeats_by_seed() -> None:
    data = torch.randn(8, 2, 3, dtype=torch.float64)

    def truth(x: Tensor, t: Tensor) -> Tensor:
        """The velocity from x and t when the data are known."""
        t = t.double()[:, None, None]
        noise = (x - t * data) / (1 - (1 - 1e-5) * t)
        return data - (1 - 1e-5) * noise

    loss, logs = flow_matching_loss(truth, data, torch.Generator().manual_seed(0))
    assert loss.item() < 1e-18
    assert logs["time"].shape == logs["loss_per_sample"].shape == (8,)
    one, two = (
        flow_matching_loss(lambda x, t: x, data, torch.Generator().manual_seed(1))[0] for _ in range(2)
    )
    assert one == two
    assert one > 0.1


def test_loss_of_predicting_nothing_is_the_targets_power() -> None:
    data = torch.randn(512, 64)
    zero, logs = flow_matching_loss(lambda x, t: torch.zeros_like(x), data, torch.Generator().manual_seed(0))
    assert zero.item() == pytest.approx(2.0, rel=0.05)  # data and noise of unit variance
    assert logs["target_rms"].square().item() == pytest.approx(zero.item(), rel=1e-5)
    assert logs["velocity_rms"] == 0
    assert not logs["loss"].requires_grad


def test_loss_keeps_the_inputs_dtype_for_the_network_and_float32_for_itself() -> None:
    data = torch.randn(4, 8, dtype=torch.bfloat16)
    dtypes = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        dtypes.append((x.dtype, t.dtype))
        return x

    loss, _ = flow_matching_loss(velocity, data, torch.Generator().manual_seed(0))
    assert dtypes == [(torch.bfloat16, torch.float32)]
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 2, 3, 12])
@pytest.mark.parametrize("shift", [3.0, 5.0])
def test_unipc_is_diffusers(steps: int, shift: float) -> None:
    scheduler = peer("diffusers").UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    scheduler.set_timesteps(steps)
    scheduler.sigmas = scheduler.sigmas.double()

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(1.3 * x + t[:, None]) - 0.7 * x

    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = start
    for sigma, timestep in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
        output = -velocity(theirs, (1 - sigma).expand(3))
        theirs = scheduler.step(output, timestep, theirs, return_dict=False)[0]
    told: list[int] = []
    ours = solvers.unipc(velocity, start, 1 - scheduler.sigmas, lambda done, _: told.append(done))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert told == list(range(1, steps + 1))


def test_unipc_is_far_closer_than_euler() -> None:
    start = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    exact = start * math.exp(math.sin(1))
    for steps in (8, 16):
        errors = [
            (solver(growing, start, schedules.linear(steps)) - exact).abs().max()
            for solver in (solvers.unipc, solvers.euler)
        ]
        assert errors[0] < 0.2 * errors[1]
