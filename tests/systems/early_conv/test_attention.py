"""The class token's attention adds up, and is what the block itself computes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kinema.nn.attention import split_heads
from kinema.systems.early_conv.attention import class_attention
from kinema.systems.early_conv.model import EarlyConvConfig, build
from tests.shaken import draw, shaken

TINY = EarlyConvConfig(
    dim=16, depth=2, num_heads=2, widths=(8, 16), strides=(2, 2), patch=8, image_size=32, num_classes=3
)


@torch.no_grad()
def test_shares_are_those_of_the_block() -> None:
    network = shaken(build(TINY)).eval()
    images = draw(2, 3, 32, 48)  # not square
    network.positions = torch.nn.Identity()
    network.positions.prefix = 1
    network.positions.forward = lambda grid: draw(1 + grid[1] * grid[2], 16)
    maps = class_attention(network, images)
    assert maps.shape == (2, 2, 2, 4, 6)
    assert (maps.sum((3, 4)) < 1).all()
    # With values that say which token they are of, what attention gives is the share of each.
    tokens = network.blocks[0](network.embed(images))
    layer = network.blocks[1].attention
    q, k, _ = layer.qkv(network.blocks[1].norm1(tokens)).chunk(3, -1)
    marks = torch.eye(25).expand(2, 2, 25, 25)
    shares = F.scaled_dot_product_attention(split_heads(q, 2), split_heads(k, 2), marks)[:, :, 0, 1:]
    assert torch.allclose(maps[:, 1].flatten(2), shares, atol=1e-5)
