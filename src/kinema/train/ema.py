"""Exponential moving average of the weights, with warm-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Averages every floating parameter by name, in float32; buffers are read from the model itself.

    The decay of update n (0-based) is min(decay, (1 + n) / (10 + n)), so that the first weights are forgotten fast.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"ema_decay={decay} must lie between 0 and 1")
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {
            name: parameter.detach().clone().float() for name, parameter in model.named_parameters()
        }

    def current_decay(self) -> float:
        """The decay that the next update uses."""
        return min(self.decay, (1.0 + self.updates) / (10.0 + self.updates))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One step: shadow <- decay * shadow + (1 - decay) * weights."""
        weight = 1.0 - self.current_decay()
        parameters = dict(model.named_parameters())
        shadow = list(self.shadow.values())
        current = [parameters[name].detach().float() for name in self.shadow]
        torch._foreach_lerp_(shadow, current, weight)
        self.updates += 1

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the averaged weights."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.shadow[name])

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """The model holds the averaged weights inside this block and its own again afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(own[name])
