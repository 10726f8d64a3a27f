"""The loss of flow matching."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from kinema.flow.paths import SIGMA_MIN, interpolate, velocity_target
from kinema.flow.times import TimeLaw, logit_normal


def flow_matching_loss(
    velocity: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    generator: Generator,
    time_law: TimeLaw = logit_normal,
    sigma_min: float = SIGMA_MIN,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean of (velocity(x_t, t) - (data - (1 - sigma_min) noise))^2 over data (B, ...), in float32.

    Args:
        velocity: the network, called once as velocity(x (B, ...), t (B,)) with its conditions already bound.
        generator: draws the times and then the noise; its device holds the draws, which are moved to data's.
        time_law: (n, generator) -> (n,) in [0, 1], t=0 noise, t=1 data; see `flow.times`.

    Returns:
        The loss (a scalar), and logs of detached tensors: "loss"; "loss_per_sample" (B,) and "time" (B,),
        to be binned by time; "velocity_rms" and "target_rms".
    """
    target_dtype = torch.promote_types(data.dtype, torch.float32)
    clean = data.to(target_dtype)
    t = time_law(len(data), generator).to(data.device)
    noise = torch.randn(data.shape, generator=generator, device=generator.device, dtype=target_dtype).to(
        data.device
    )
    predicted = velocity(interpolate(noise, clean, t, sigma_min).to(data.dtype), t).to(target_dtype)
    target = velocity_target(noise, clean, sigma_min)
    per_sample = (predicted - target).square().flatten(1).mean(1)
    loss = per_sample.mean()
    logs = {
        "loss": loss.detach(),
        "loss_per_sample": per_sample.detach(),
        "time": t,
        "velocity_rms": predicted.detach().square().mean().sqrt(),
        "target_rms": target.square().mean().sqrt(),
    }
    return loss, logs
