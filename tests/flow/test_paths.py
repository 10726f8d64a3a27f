"""Paths by their identities, in float64."""

import pytest
import torch

from kinema.flow import diffusion, paths


def draws(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 2, 3, dtype=torch.float64, generator=generator) for _ in range(count)]


def test_path_runs_from_noise_to_data() -> None:
    noise, data = draws(2)
    zeros, ones = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    assert torch.equal(paths.interpolate(noise, data, zeros), noise)
    torch.testing.assert_close(paths.interpolate(noise, data, ones), data + 1e-5 * noise, atol=1e-12, rtol=0)
    half = paths.interpolate(noise, data, zeros + 0.5, sigma_min=0.0)
    torch.testing.assert_close(half, (noise + data) / 2)


@pytest.mark.parametrize("sigma_min", [0.0, 1e-5, 0.1])
def test_target_is_the_derivative_of_the_path(sigma_min: float) -> None:
    noise, data = draws(2)
    t, h = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64), 1e-4
    ahead, behind = (paths.interpolate(noise, data, t + s, sigma_min) for s in (h, -h))
    slope = (ahead - behind) / (2 * h)
    torch.testing.assert_close(paths.velocity_target(noise, data, sigma_min), slope, atol=1e-9, rtol=0)


def test_velocity_speaks_of_data_and_noise() -> None:
    noise, data = draws(2)
    t = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    x, velocity = paths.interpolate(noise, data, t), paths.velocity_target(noise, data)
    torch.testing.assert_close(paths.data_from_velocity(x, velocity, t), data)
    torch.testing.assert_close(paths.noise_from_velocity(x, velocity, t), noise)


def test_diffusion_signal_ends_in_pure_noise_and_keeps_its_clean_end() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    plain = (1 - betas).cumprod(0).sqrt()
    signal = diffusion.zero_terminal_signal()
    assert signal[-1] == 0
    assert signal[0].item() == pytest.approx(plain[0].item(), abs=1e-12)
    assert (signal.diff() < 0).all()
    ends = diffusion.signal_at(torch.tensor([0.0, 1.0]), signal)
    assert torch.equal(ends, signal[[-1, 0]])  # t=0 noise, t=1 data


def test_v_prediction_inverts_and_is_the_derivative_by_angle() -> None:
    noise, data = draws(2)
    angle, h = torch.tensor([0.0, 0.4, 1.1, torch.pi / 2], dtype=torch.float64), 1e-5
    signal = angle.cos()
    x, v = diffusion.interpolate(noise, data, signal), diffusion.v_target(noise, data, signal)
    torch.testing.assert_close(diffusion.data_from_v(x, v, signal), data)
    torch.testing.assert_close(diffusion.noise_from_v(x, v, signal), noise)
    inner = angle[1:3]
    ahead, behind = (diffusion.interpolate(noise[1:3], data[1:3], (inner + s).cos()) for s in (h, -h))
    torch.testing.assert_close(v[1:3], (ahead - behind) / (2 * h), atol=1e-8, rtol=0)
