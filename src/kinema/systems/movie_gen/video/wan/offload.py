"""Blocks of which one at a time stands on the device, for weights that are larger than its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from kinema.systems.movie_gen.video.wan.layers import Block


class BlockStream:
    """Yields the blocks in their order: always the same module, filled with the next block's weights.

    A block that was yielded is valid until the next one is asked for.

    Args:
        block: a block on the device; what it holds is overwritten.
        read: index -> the tensors of that block under the names that the block itself uses.
    """

    def __init__(self, block: Block, read: Callable[[int], Mapping[str, Tensor]], depth: int) -> None:
        self.block = block.eval().requires_grad_(False)
        self.read = read
        self.depth = depth

    def __len__(self) -> int:
        return self.depth

    @torch.no_grad()
    def fill(self, index: int) -> Block:
        """The block with the weights of `index`."""
        tensors = self.read(index)
        for name, parameter in self.block.named_parameters():
            parameter.copy_(tensors[name], non_blocking=True)  # in stream order, so after the last use
        return self.block

    def __iter__(self) -> Iterator[Block]:
        for index in range(self.depth):
            yield self.fill(index)
