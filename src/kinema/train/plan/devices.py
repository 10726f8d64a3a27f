"""Accelerators: what they compute, hold and move, as published; and this machine's processor, measured."""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import dataclass
from typing import Final

from kinema.errors import UserError

FLOAT: Final = 4  # bytes of parameters, gradients, optimiser state, EMA and the residual stream


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator. `flops` is its dense peak in the compute type, `mfu` the share that a plan counts on."""

    name: str
    title: str
    flops: float
    memory: float  # bytes
    bandwidth: float | None  # bytes a second; None: not known
    compute_bytes: int = 2  # bfloat16
    mfu: float = 0.4
    fused_norms: bool = True  # the norms keep what they read beside what they give
    explicit_keys: int = 0  # attention over so many keys or fewer keeps its scores


# Published figures: dense bfloat16 (half of what is printed "with sparsity"), SXM or OAM boards. NVIDIA's data sheets
# of A100 80GB, H100, H200, DGX B200 (an eighth of it), L40S and L4; the Ada GPU architecture paper (RTX 4090, float32
# accumulation); AMD's data sheet of the Instinct MI300X.
_PUBLISHED: Final = (
    ("a100", "NVIDIA A100 80GB SXM", 312e12, 80e9, 2039e9),
    ("h100", "NVIDIA H100 SXM", 989e12, 80e9, 3350e9),
    ("h200", "NVIDIA H200 SXM", 989e12, 141e9, 4800e9),
    ("b200", "NVIDIA B200 SXM", 2250e12, 180e9, 8000e9),
    ("l40s", "NVIDIA L40S", 362e12, 48e9, 864e9),
    ("l4", "NVIDIA L4", 121e12, 24e9, 300e9),
    ("rtx4090", "NVIDIA GeForce RTX 4090", 165.2e12, 24e9, 1008e9),
    ("mi300x", "AMD Instinct MI300X", 1307.4e12, 192e9, 5300e9),
)
DEVICES: Final[dict[str, Device]] = {
    name: Device(name=name, title=title, flops=flops, memory=memory, bandwidth=bandwidth)
    for name, title, flops, memory, bandwidth in _PUBLISHED
}


def find_device(name: str) -> Device:
    """A device of the table, or `cpu`: this machine, measured. UserError with the closest names otherwise."""
    if name == "cpu":
        return this_machine()
    if name not in DEVICES:
        near = difflib.get_close_matches(name, [*DEVICES, "cpu"], n=3, cutoff=0.0)
        raise UserError(f"there is no device '{name}' in the table; the closest are {', '.join(near)}")
    return DEVICES[name]


def this_machine() -> Device:
    """The processor that this runs on: its own matrix product is the peak. Imports torch and takes a second."""
    import torch

    from kinema.nn.attention import EXPLICIT_KEYS
    from kinema.train.flops import matmul_ceiling
    from kinema.train.precision import cpu_has_bfloat16

    half = cpu_has_bfloat16()
    peak = matmul_ceiling(torch.device("cpu"), torch.bfloat16 if half else torch.float32)
    try:
        memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        memory = math.inf
    return Device(
        name="cpu",
        title=f"this machine's processor, {torch.get_num_threads()} threads, "
        f"{'bfloat16' if half else 'float32'}, measured",
        flops=peak,
        memory=memory,
        bandwidth=None,
        compute_bytes=2 if half else FLOAT,
        mfu=0.2 if half else 0.6,
        fused_norms=False,
        explicit_keys=EXPLICIT_KEYS if half else 0,
    )
