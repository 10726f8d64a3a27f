"""How much arithmetic a step is, and how much this machine could do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def _cpu_attention(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _cpu_attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


def _cpu_attention_table() -> dict[Any, Callable[..., int]]:
    """PyTorch's counter knows attention on CUDA only; these are the CPU's operators."""

    def counts_tensors(function: Callable[..., int]) -> Callable[..., int]:
        function._get_raw = True  # type: ignore[attr-defined]
        return function

    aten = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: counts_tensors(_cpu_attention),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: counts_tensors(_cpu_attention_backward),
    }


class FlopCount:
    """Holds the total once the counting block has ended."""

    total: int = 0


@contextmanager
def count_flops() -> Iterator[FlopCount]:
    """Counts the floating-point operations (2 per multiply-add) of the products inside, backward included."""
    result = FlopCount()
    with FlopCounterMode(display=False, custom_mapping=_cpu_attention_table()) as counter:
        yield result
    result.total = int(counter.get_total_flops())


@lru_cache(maxsize=8)
def _ceiling(kind: str, index: int | None, dtype: torch.dtype, threads: int) -> float:
    device = torch.device(kind, index) if index is not None else torch.device(kind)
    size = 8192 if kind == "cuda" else 1024
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        matrix @ matrix
        if kind == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def matmul_ceiling(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of one large square matrix product on this device: the best of a few, measured once a process."""
    return _ceiling(device.type, device.index, dtype, torch.get_num_threads())
