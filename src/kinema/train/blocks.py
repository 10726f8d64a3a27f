"""Compiling a model's repeated blocks: one compilation serves every layer of the same kind."""

from __future__ import annotations

import shutil

import torch
from torch import nn

from kinema.train.log import logger

WORTH_COMPILING = 200  # steps: a shorter stage is done before its compilation has paid
SHAPES = 64  # compiled versions of one block, before torch goes back to running it plainly


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The members of every nn.ModuleList, outermost lists only."""
    found: list[nn.Module] = []
    for child in model.children():
        repeated = isinstance(child, nn.ModuleList) and len(child) > 1
        found += list(child.children()) if repeated else repeated_blocks(child)
    return found


def can_compile() -> bool:
    """Whether torch.compile finds the C++ compiler that its CPU code needs."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))


def compile_blocks(model: nn.Module) -> list[nn.Module]:
    """Compile the repeated blocks in place and give them back; none, with a line, where there is no compiler."""
    if not can_compile():
        logger.warning("no C++ compiler was found: the blocks run uncompiled, which is about half as fast")
        return []
    blocks = repeated_blocks(model)
    logger.info("compiling %d blocks, which takes half a minute for each shape of batch", len(blocks))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
    for block in blocks:
        block.compile(dynamic=False)
    return blocks


def uncompile_blocks(blocks: list[nn.Module]) -> None:
    """Undo `compile_blocks`."""
    for block in blocks:
        block._compiled_call_impl = None
