"""What a network costs: its parameters, and the multiply-adds of its convolutions and linear layers for one input.

Exact whole numbers, counted while the network runs; on the meta device nothing is computed and no memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def count_parameters(network: nn.Module, trainable: bool = False) -> int:
    """Values in all parameters, shared ones once; with `trainable` only of those that take a gradient."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable)


@contextmanager
def counting(network: nn.Module) -> Iterator[dict[str, int]]:
    """A table, name of a layer -> multiply-adds, that grows while `network` runs inside the block.

    A layer that runs twice counts twice. Biases, norms, activations, additions and attention's products are not
    counted, nor are convolutions that a network computes without calling its layer.
    """
    table: dict[str, int] = {}
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, (*_CONVS, *_TRANSPOSED, nn.Linear)):

            def hook(layer: Any, given: tuple[Any, ...], out: Tensor, name: str = name) -> None:
                table[name] = table.get(name, 0) + multiply_adds(layer, given[0], out)

            hooks.append(layer.register_forward_hook(hook))
    try:
        yield table
    finally:
        for handle in hooks:
            handle.remove()


def multiply_adds(layer: nn.Module, given: Tensor, out: Tensor) -> int:
    """Of one call of a convolution or linear layer: products with a weight, taps on the padding included."""
    if isinstance(layer, nn.Linear):
        return out.numel() * layer.in_features
    if isinstance(layer, _TRANSPOSED):
        return given.numel() * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
    if isinstance(layer, _CONVS):
        return out.numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)
    raise TypeError(f"{type(layer).__name__} is no convolution and no linear layer")


@torch.no_grad()
def count_multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of one call, in eval mode; inputs and network on the meta device cost nothing."""
    was_training = network.training
    network.eval()
    try:
        with counting(network) as table:
            network(*inputs)
    finally:
        network.train(was_training)
    return sum(table.values())
