"""Random numbers for tests of networks, and networks none of whose weights stands where it starts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and running statistic away from where it starts, so that no error hides in a zero; eval mode.

    Tables of positions that are computed stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and "table" not in name:
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(noise.abs() + 0.5 if "running_var" in name else value + 0.1 * noise)
    return network.eval()
