"""A paper's table of training stages, to stand beside a plan."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.train.plan.blueprint import Blueprint
from kinema.train.plan.choose import Plan, make_plan
from kinema.train.plan.devices import Device
from kinema.train.plan.footprint import Layout


@dataclass(frozen=True, kw_only=True)
class PaperStage:
    """One row of a paper's table of stages. `batch` is per GPU in the paper's sense: per GPU and TP x CP group."""

    name: str
    blueprint: Blueprint
    devices: int
    tp: int
    cp: int
    batch: int
    learning_rate: float
    iterations: float
    printed_batch: int
    printed_samples: float
    note: str = ""

    @property
    def layout(self) -> Layout:
        """FSDP over all that TP and CP leave."""
        return Layout(tp=self.tp, cp=self.cp, fsdp=self.devices // (self.tp * self.cp))

    @property
    def global_batch(self) -> int:
        return self.batch * self.devices // (self.tp * self.cp)

    @property
    def samples(self) -> float:
        return self.iterations * self.global_batch

    def plan(self, device: Device, mfu: float | None = None) -> Plan:
        """The row on `device`: with activation checkpointing where it would not fit otherwise."""
        settings = {"mfu": mfu, "tp": self.tp, "cp": self.cp, "fsdp": self.layout.fsdp}
        return make_plan(self.blueprint, device, self.devices, self.batch, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a room's planner gives: the network at one size of sample, and what the paper says of its training."""

    title: str
    sample: str  # in words
    blueprint: Blueprint
    stages: tuple[PaperStage, ...] = ()
    notes: tuple[str, ...] = ()
