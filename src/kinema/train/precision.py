"""Which number type the arithmetic runs in: bfloat16 where the hardware has it, float32 where it is a trap.

A CPU without bfloat16 units runs half precision through a scalar loop, about 40 times slower than float32.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from kinema.errors import UserError

PrecisionName = Literal["auto", "fp32", "bf16"]


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices at a useful speed; asks oneDNN, else times one small product."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        pass

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(256, 256, dtype=dtype)
        matrix @ matrix
        start = time.perf_counter()
        matrix @ matrix
        return time.perf_counter() - start

    return seconds(torch.bfloat16) < 2.0 * seconds(torch.float32)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth using on `device`."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return cpu_has_bfloat16() if device.type == "cpu" else False


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Parameters stay float32; `compute` is the dtype of the large products inside `autocast()`."""

    device: torch.device
    compute: torch.dtype

    @classmethod
    def choose(cls, name: PrecisionName = "auto", device: torch.device | str = "cpu") -> Precision:
        """`auto`, `fp32` or `bf16` for this device."""
        place = torch.device(device)
        if name not in ("auto", "fp32", "bf16"):
            raise UserError(f"precision={name!r} is not known: choose auto, fp32 or bf16")
        half = name == "bf16" or (name == "auto" and has_bfloat16(place))
        return cls(device=place, compute=torch.bfloat16 if half else torch.float32)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward and loss run."""
        if self.compute == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute)


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA (this process's own card under torchrun), then Apple's MPS, then the CPU."""
    if name != "auto":
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise UserError(f"device={name!r} is not known: choose auto, cpu, cuda or mps") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(
                f"device={name!r} was asked for and this machine has no CUDA device: choose cpu or auto"
            )
        return device
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
