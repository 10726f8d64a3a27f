"""Weights by formula: the same on every machine and in every peer, so that recordings need not hold them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def uniform(name: str, shape: tuple[int, ...]) -> Tensor:
    """Values that look like noise, from -1 to 1, a function of the name and the shape: float64."""
    place = torch.arange(math.prod(shape), dtype=torch.float64) + zlib.crc32(name.encode()) % 9973
    return (2 * (43758.5453 * torch.sin(12.9898 * place)).remainder(1.0) - 1).reshape(shape)


def formula_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state for these tensors: float32 values with which signals keep their size through a network."""
    state = {}
    for name, shape in shapes.items():
        value = uniform(name, tuple(shape))
        if name.endswith(("weight_g", "alpha")):
            value = 1.0 + 0.2 * value
        elif name.endswith("bias") or "lstm" in name:
            value = 0.05 * value
        elif name.endswith(".weight") and len(shape) > 1:
            value = value * (3.0 / math.prod(shape[1:])) ** 0.5
        state[name] = value.float()
    return state
