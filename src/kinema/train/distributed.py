"""One process or many: `python` and `torchrun` run the same script.

The loss and the model are wrapped together, so that a loss may call any method of its model under DDP and FSDP2.
"""

from __future__ import annotations

import atexit
import copy
import gc
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinema.errors import UserError

Parallel = Literal["ddp", "fsdp"]


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """The process that writes files and logs."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all processes, the same tensor on each."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def gather(self, value: Any) -> list[Any]:
        """`value` of every process, in rank order."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value)
        return gathered

    def from_main(self, value: Any) -> Any:
        """The main process's `value`."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def main_first(self, action: Callable[[], Any]) -> Any:
        """Run `action` on the main process only; its error, if any, is raised on every process."""
        error: Exception | None = None
        result = None
        if self.is_main:
            try:
                result = action()
            except Exception as caught:  # every rank must hear of it, or the others wait for ever
                error = caught
        if self.size > 1:
            failed = self.from_main(None if error is None else f"{error}")
            if failed is not None and error is None:
                error = UserError(failed)
        if error is not None:
            raise error
        return result


def join_world(device: torch.device) -> World:
    """The process group, when torchrun started us; a world of one, with no environment variable, when not.

    The group stays up until the process ends: a second group on the same rendezvous may meet the keys of the first
    one and wait for ever.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave_world)
    return World(rank=dist.get_rank(), size=dist.get_world_size())


def _leave_world() -> None:
    """Leave together, with nothing that still holds the group: a peer's early end can abort the other's exit."""
    if dist.is_initialized():
        gc.collect()
        if dist.get_backend() == "gloo":
            with suppress(RuntimeError):  # a peer is gone already
                dist.monitored_barrier(timeout=timedelta(seconds=20))
        dist.destroy_process_group()


def bind_local_device() -> None:
    """Under torchrun on CUDA each process takes the card of its local rank."""
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def is_sharded(tensor: Tensor) -> bool:
    """Whether this is a DTensor. Importing the class costs two seconds, which one process need not pay."""
    return hasattr(tensor, "device_mesh")


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole tensor of a shard (a collective call); any other tensor as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def sharded_like(full: Tensor, reference: Tensor) -> Tensor:
    """A whole tensor, known to every process, cut as `reference` is and put on its device."""
    if not is_sharded(reference):
        return full.to(reference.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(reference, DTensor)
    mesh = reference.device_mesh
    return distribute_tensor(full.to(mesh.device_type), mesh, reference.placements, src_data_rank=None)


class Call(nn.Module):
    """Calls a function with the model inside a module's forward, which is where DDP and FSDP2 hook in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(model, *args)."""
        return function(self.model, *args)


class Runner:
    """A model placed for training: `run(function, *args)` calls function(model, *args) with the wrapper's hooks."""

    def __init__(
        self, model: nn.Module, world: World, parallel: Parallel, device: torch.device, dtype: torch.dtype
    ):
        if parallel not in ("ddp", "fsdp"):
            raise UserError(f"parallel={parallel!r} is not known: choose ddp or fsdp")
        self.original = model.to(device)
        self.sharded = world.size > 1 and parallel == "fsdp"
        if world.size > 1:  # processes may have initialised differently: the first one's weights count
            for tensor in [*model.parameters(), *model.buffers()]:
                dist.broadcast(tensor.detach(), src=0)
        # FSDP2 rewrites the module in place, so it gets a copy: other stages may hold the original.
        self.model = copy.deepcopy(model) if self.sharded else model
        self.call: nn.Module = Call(self.model)
        if self.sharded:
            self._shard(dtype)
        elif world.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.call = DistributedDataParallel(self.call, device_ids=ids, init_sync=False)

    def _shard(self, dtype: torch.dtype) -> None:
        """One FSDP2 unit per block of every ModuleList, one for all the rest."""
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        policy = MixedPrecisionPolicy()
        if dtype != torch.float32:
            policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        for module in list(self.model.modules()):
            if isinstance(module, nn.ModuleList):
                for block in module:
                    if any(True for _ in block.parameters()) and not isinstance(block, FSDPModule):
                        fully_shard(block, mp_policy=policy)
        fully_shard(self.call, mp_policy=policy)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(model, *args), ready for backward."""
        return self.call(function, *args)

    def evaluate(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(model, *args) for validation: DDP's gradient hooks are left out."""
        if not self.sharded:
            return function(self.model, *args)
        result = self.call(function, *args)
        self.call.reshard()  # type: ignore[operator]  # the root stays whole after a forward that has no backward
        return result

    def accumulating(self, last: bool) -> AbstractContextManager[object]:
        """Around a microbatch's backward: gradients cross processes only on the last one of a step."""
        if self.sharded:
            self.call.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif isinstance(self.call, DistributedDataParallel) and not last:
            return self.call.no_sync()
        return nullcontext()

    @torch.no_grad()
    def restore_original(self) -> None:
        """After a sharded stage: write the trained weights back into the module that the caller holds."""
        if not self.sharded:
            return
        own = self.original.state_dict()
        for name, value in self.model.state_dict().items():
            own[name].copy_(full_tensor(value))
