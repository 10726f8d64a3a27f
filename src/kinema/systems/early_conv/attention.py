"""Where the class token looks: how much of its attention each patch gets, in every block and head."""

# B batch, L blocks, h heads, H' W' patches down and across

from __future__ import annotations

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.nn import Block, VisionTransformer
from kinema.nn.attention import split_heads


@torch.no_grad()
def class_attention(network: VisionTransformer, images: Tensor) -> Tensor:
    """Images (B, 3, H, W), normalised, to shares (B, L, h, H', W').

    A map adds up to 1 less what the token gives to itself.

    Raises:
        UserError: the network has no class token.
    """
    if network.class_token is None:
        raise UserError("the network has no class token whose attention could be shown")
    tokens, maps = network.embed(images), []
    for block in network.blocks:
        assert isinstance(block, Block)
        q, k, _ = block.attention.qkv(block.norm1(tokens)).chunk(3, -1)
        q, k = (split_heads(part, block.attention.num_heads) for part in (q[:, :1], k))  # (B, h, 1 or S, d)
        maps.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)[:, :, 0, 1:])
        tokens = block(tokens)
    return torch.stack(maps, 1).unflatten(3, network.stem.grid(images)[1:])
