"""Random numbers that depend on the place in the run and on nothing else.

Every microbatch starts from seeds derived from (seed, stage, step, microbatch number), whichever process computes
it. So a split over ranks, an accumulation setting or a resumed run draws the same numbers.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any names and numbers; the same on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device`, seeded with `derive_seed(*parts)`."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive_seed(*parts))
    return generator


def seed_everything(seed: int) -> None:
    """Seed the global sources of Python, NumPy and torch (dropout draws from the last)."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002  code that is not ours draws from it
    # torch.manual_seed would format a traceback on every call while CUDA has not been started.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def per_sample_randn(indices: Sequence[int], shape: Sequence[int], seed: int | str) -> Tensor:
    """Normal noise that belongs to the sample, not to the batch: (len(indices), *shape), float32 on the CPU."""
    rows = [torch.randn(tuple(shape), generator=make_generator(seed, "sample", index)) for index in indices]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


@lru_cache(maxsize=4)
def _permutation(size: int, seed: int | str, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(size, generator=make_generator(seed, "epoch", epoch)).tolist()
    return order


def shuffled(indices: Sequence[int], size: int, seed: int | str = 0) -> list[int]:
    """Positions in a data set of `size` items for these global sample indices: a new order each epoch, every item once.

    The global index counts all samples of the run, so this is the whole state of a data loader.
    """
    return [_permutation(size, seed, index // size)[index % size] for index in indices]
