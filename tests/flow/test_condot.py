"""The straight path and its loss against their closed form and their peers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinema.flow import flow_matching_loss, paths
from tests.parity import assert_parity, peer

RECORDED = Path(__file__).with_name("condot.safetensors")  # by make_condot.py


def condot() -> dict[str, Tensor]:
    return load_file(RECORDED)


@pytest.mark.parametrize("sigma_min", [0.0, 1e-6, 1e-5])
def test_path_and_target_are_their_closed_form(sigma_min: float) -> None:
    """Sample by sample in plain numbers: x = t data + (1 - (1 - s) t) noise, u = data - (1 - s) noise."""
    known = {name: tensor.double() for name, tensor in condot().items()}
    noise, data, t = known["noise"], known["data"], known["t"]
    x, velocity = (
        paths.interpolate(noise, data, t, sigma_min),
        paths.velocity_target(noise, data, sigma_min),
    )
    for i, time in enumerate(t.tolist()):
        assert_parity(x[i], time * data[i] + (1 - (1 - sigma_min) * time) * noise[i], 1e-14)
        assert_parity(velocity[i], data[i] - (1 - sigma_min) * noise[i], 1e-14)


@pytest.mark.parametrize(("sigma_min", "tolerance"), [(0.0, 1e-6), (1e-6, 6e-6)])
def test_path_and_target_equal_flow_matching(sigma_min: float, tolerance: float) -> None:
    """The peer has no sigma_min: one of 1e-6 may differ from it by sigma_min times the noise, and does."""
    known = condot()
    noise, data, t = known["noise"], known["data"], known["t"]
    assert_parity(paths.interpolate(noise, data, t, sigma_min), known["x"], tolerance)
    assert_parity(paths.velocity_target(noise, data, sigma_min), known["velocity"], tolerance)
    further = paths.velocity_target(noise.double(), data.double(), sigma_min) - (
        data.double() - noise.double()
    )
    assert_parity(further, sigma_min * noise.double(), 1e-14)


@pytest.mark.parametrize(("sigma_min", "tolerance"), [(0.0, 1e-6), (1e-6, 6e-6)])
def test_loss_equals_flow_matching(sigma_min: float, tolerance: float) -> None:
    known = condot()
    drawn = torch.randn(known["noise"].shape, generator=torch.Generator().manual_seed(7))
    assert torch.equal(drawn, known["noise"])
    loss, logs = flow_matching_loss(
        lambda x, t: x.sin(),
        known["data"],
        torch.Generator().manual_seed(7),
        time_law=lambda n, generator: known["t"],
        sigma_min=sigma_min,
    )
    assert_parity(loss[None], known["loss"], tolerance)
    assert torch.equal(logs["time"], known["t"])


def test_path_equals_the_noising_of_diffusers() -> None:
    """FlowMatchEulerDiscreteScheduler counts from data to noise: its sigma is 1 - t."""
    scheduler = peer("diffusers").FlowMatchEulerDiscreteScheduler()
    known = condot()
    noise, data = known["noise"], known["data"]
    chosen = torch.tensor([0, 300, 650, 999])
    sigmas, timesteps = scheduler.sigmas[chosen], scheduler.timesteps[chosen]
    theirs = scheduler.scale_noise(data, timesteps, noise)
    assert_parity(paths.interpolate(noise, data, 1 - sigmas, 0.0), theirs, 1e-6)
