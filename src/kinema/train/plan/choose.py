"""Which layout a run takes: the fewest devices a copy that fit; and how long its steps are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kinema.errors import UserError
from kinema.train.plan.blueprint import Blueprint, Work, work
from kinema.train.plan.devices import Device
from kinema.train.plan.footprint import Layout, Memory, memory

USABLE: Final = (
    0.94  # share of a device's memory that a run can fill: the rest is context, buffers, fragments
)
MAX_TP: Final = 8  # tensor parallelism stays inside one machine


def layouts(
    blueprint: Blueprint,
    devices: int,
    tp: int | None = None,
    cp: int | None = None,
    fsdp: int | None = None,
) -> Iterator[Layout]:
    """Every layout of `devices` that the model can be cut into, fewest shards first; given degrees stay as given."""
    found = []
    for t in [tp] if tp else [d for d in _divisors(devices) if d <= MAX_TP]:
        if blueprint.num_heads % t or blueprint.hidden % t or devices % t:
            continue
        for c in [cp] if cp else _divisors(devices // t):
            if blueprint.tokens % (t * c) or devices % (t * c):
                continue
            rest = devices // (t * c)
            for f in [fsdp] if fsdp else _divisors(rest):
                if rest % f == 0:
                    found.append(Layout(tp=t, cp=c, fsdp=f, replicas=rest // f))
    yield from sorted(found, key=lambda layout: (layout.shards, layout.tp * layout.cp, layout.cp))


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout, what it needs and how long it takes."""

    blueprint: Blueprint
    device: Device
    layout: Layout
    batch: int  # samples of one data-parallel group
    checkpointing: bool
    memory: Memory
    mfu: float

    @property
    def fits(self) -> bool:
        return self.memory.total <= USABLE * self.device.memory

    @property
    def global_batch(self) -> int:
        return self.batch * self.layout.data_parallel

    @property
    def work(self) -> Work:
        return work(self.blueprint, self.checkpointing)

    @property
    def step_seconds(self) -> float:
        """Model FLOPs at the given utilisation, recomputation at the same rate, the optimiser's pass over memory."""
        flops = (self.work.model + self.work.recomputed) * self.global_batch
        products = flops / (self.layout.devices * self.device.flops * self.mfu)
        if self.device.bandwidth is None:
            return products
        # AdamW reads weight, gradient and two moments and writes three of them; the EMA is read and written.
        passes = 7 + (3 if self.memory.ema else 0)
        return products + self.memory.parameters * passes / self.device.bandwidth

    def days(self, steps: float) -> float:
        return steps * self.step_seconds / 86_400


def make_plan(
    blueprint: Blueprint,
    device: Device,
    devices: int = 1,
    batch: int = 1,
    *,
    checkpointing: bool | None = None,
    mfu: float | None = None,
    ema: bool = True,
    tp: int | None = None,
    cp: int | None = None,
    fsdp: int | None = None,
) -> Plan:
    """The layout with the fewest shards that fits; if none does, the one that needs the least memory.

    checkpointing: None takes it only where no layout without TP and CP fits otherwise.

    Raises:
        UserError: counts below 1, a utilisation that is none, or degrees that do not divide what they must.
    """
    for name, count in (("devices", devices), ("batch-size", batch), ("tp", tp), ("cp", cp), ("fsdp", fsdp)):
        if count is not None and not 1 <= count <= 10_000_000:
            raise UserError(f"--{name} is {count} and must be a whole number from 1 to 10,000,000")
    rate = device.mfu if mfu is None else mfu
    if not 0 < rate <= 1:
        raise UserError(f"--mfu is {rate:g} and must lie above 0 and at most 1")
    candidates = list(layouts(blueprint, devices, tp, cp, fsdp))
    if not candidates:
        raise UserError(
            f"--devices {devices} cannot be cut into TP {tp or 'any'} x CP {cp or 'any'} x FSDP {fsdp or 'any'}: "
            f"TP must divide {blueprint.num_heads} heads and {blueprint.hidden} hidden units, TP x CP the "
            f"{blueprint.tokens} tokens, and all of them the devices"
        )
    plain = [layout for layout in candidates if layout.tp * layout.cp == 1]
    tries: list[tuple[bool, Sequence[Layout]]]
    if checkpointing is None:
        tries = [(False, candidates if tp or cp else plain), (True, candidates)]
    else:
        tries = [(checkpointing, candidates)]
    made: list[Plan] = []
    for recompute, group in tries:
        for layout in group:
            need = memory(blueprint, layout, batch, device, checkpointing=recompute, ema=ema)
            plan = Plan(
                blueprint=blueprint, device=device, layout=layout, batch=batch, checkpointing=recompute,
                memory=need, mfu=rate,
            )  # fmt: skip
            if plan.fits:
                return plan
            made.append(plan)
    return min(made, key=lambda plan: plan.memory.total)
