"""Classifier-free guidance as a wrapper around a velocity, so that every solver gets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def guided(velocity: Callable[..., Tensor], scale: float) -> Callable[..., Tensor]:
    """Classifier-free guidance: v_uncond + scale * (v_cond - v_uncond), one batched call.

    Args:
        velocity: called as velocity(x, t, *args) on the doubled batch: x (2B, ...) and t (2B,), the first
            half to be computed under the condition, the second under the null condition. The callable (or
            the args passed through) therefore holds conditions for 2B samples in this order.
        scale: 1 gives the conditional velocity, 0 the unconditional one.

    Returns:
        A velocity(x, t, *args) on B samples. At scale 1 it still doubles the batch: call the conditional
        velocity itself where no guidance is wanted.
    """

    def step(x: Tensor, t: Tensor, *args: Any) -> Tensor:
        cond, uncond = velocity(torch.cat([x, x]), torch.cat([t, t]), *args).chunk(2)
        return uncond + scale * (cond - uncond)

    return step
