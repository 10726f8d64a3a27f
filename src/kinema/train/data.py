"""From a stage's `batches` function to tensors on the device, prepared ahead when the stage allows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kinema.train.seeds import derive_seed, seed_everything
from kinema.train.stage import BatchIndex, Stage


def to_device(batch: Any, device: torch.device) -> Any:
    """Every tensor inside tuples, lists, mappings and dataclasses, moved; everything else as it is."""
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        own = {item.name: getattr(batch, item.name) for item in fields(batch) if item.init}
        moved = {name: to_device(value, device) for name, value in own.items()}
        return replace(batch, **moved) if any(moved[name] is not own[name] for name in own) else batch
    return batch


def microbatches(
    stage: Stage, first_step: int, *, rank: int, world: int, seed: int
) -> Iterator[tuple[BatchIndex, Any]]:
    """(index, batch) of this process from `first_step` on, in order, to the stage's last step."""

    def indices() -> Iterator[BatchIndex]:
        for step in range(first_step, stage.steps):
            for turn in range(stage.accumulation):
                yield stage.microbatch(step, turn, rank=rank, world=world, seed=seed)

    if stage.prefetch < 1:
        for index in indices():
            seed_everything(derive_seed(seed, stage.name, "data", index.step, index.microbatch))
            yield index, stage.batches(index)
        return

    threads = min(stage.prefetch, 8)
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="kinema-data")
    waiting: deque[tuple[BatchIndex, Future[Any]]] = deque()
    try:
        for index in indices():
            waiting.append((index, pool.submit(stage.batches, index)))
            if len(waiting) > stage.prefetch:
                ready, future = waiting.popleft()
                yield ready, future.result()
        while waiting:
            ready, future = waiting.popleft()
            yield ready, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
