"""Where the weights of a network start."""

from __future__ import annotations

import torch
from torch import nn

from kinema.nn.modulation import LayerBias, SharedModulation, TimestepEmbedding
from kinema.nn.norms import RMSNorm
from kinema.nn.positions import FactorizedPositions


@torch.no_grad()
def init_layers(network: nn.Module) -> None:
    """Set matrices to N(0, 1/fan_in), biases to zero, norms to one, and layers of `kinema.nn` as they say themselves.

    What is special to a network (its zeros, its tables of embeddings) it sets after this.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
    for layer in network.modules():
        if isinstance(
            layer, RMSNorm | LayerBias | SharedModulation | TimestepEmbedding | FactorizedPositions
        ):
            layer.init_weights()
