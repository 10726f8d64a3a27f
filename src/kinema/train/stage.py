"""What a recipe hands to the loop: a stage, and what the loop hands back for data: an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.train.optim import OptimizerName
from kinema.train.precision import PrecisionName
from kinema.train.schedules import Schedule
from kinema.train.seeds import make_generator

Logs = Mapping[str, Tensor | float]


@dataclass(frozen=True, kw_only=True)
class BatchIndex:
    """Which microbatch: a pure function of the position in the run, so data needs no state of its own.

    step: optimiser step of the stage, from 0. microbatch: its number within the step, over all processes.
    indices: the global sample numbers, step * batch_size + ... ; the same whatever the split over processes.
    rank, world: who computes it (for placing data, never for choosing it).
    """

    step: int
    microbatch: int
    indices: range
    rank: int = 0
    world: int = 1
    seed: int = 0
    stage: str = ""

    def generator(self, purpose: str = "batch") -> torch.Generator:
        """A CPU generator of this microbatch's own, for augmentation and choices; one stream a purpose."""
        return make_generator(self.seed, self.stage, purpose, self.step, self.microbatch)


@dataclass(kw_only=True)
class Stage:
    """One training stage. The loop owns accumulation, clipping, EMA, logging, checkpoints and resume.

    loss(model, batch, generator) -> (scalar, logs): `generator` is on the model's device and seeded for this
    microbatch. Draw from it, or from torch's global source, which is seeded alike.
    batches(index) -> batch: a pure function of the BatchIndex. Tensors in it are moved to the model's device.
    validate(model, folder) -> dict: gets the averaged weights (when there is an EMA) in eval mode, without
    gradients, and a folder `samples/step_.../` to put pictures in. Names without "/" become "val/<name>".
    prepare(model): runs when the stage begins, and again when a run is resumed, before weights are read: start
    from an earlier stage's model, switch on gradient checkpointing, grow a layer.
    """

    name: str
    model: nn.Module
    loss: Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, Logs]]
    batches: Callable[[BatchIndex], Any]
    steps: int
    batch_size: int  # samples per optimiser step, over all processes
    accumulation: int = 1  # microbatches per step and process

    optimizer: OptimizerName = "adamw"
    lr: float = 1e-3
    muon_lr: float | None = None  # None: the same as lr
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    lr_scales: dict[str, float] = field(default_factory=dict)  # name pattern -> factor on lr
    clip_norm: float | None = 1.0

    schedule: Schedule = "constant"
    warmup_steps: int = 0
    decay_fraction: float = 0.2  # of the steps, for wsd
    lr_floor: float = 0.0  # final factor on lr; for plateau the smallest
    plateau_metric: str | None = None  # a key of validate's result; None: train/loss of each log window
    plateau_factor: float = 0.5  # on lr, at each drop
    plateau_patience: int = 5  # values in a row that may pass without improving
    plateau_threshold: float = 1e-3  # relative improvement that counts

    ema_decay: float = 0.0  # 0: off; else the stage ends with the averaged weights in the model
    precision: PrecisionName | None = None  # None: what run_stages was given
    compile: bool = (
        False  # torch.compile the repeated blocks (of a stage of 200 steps or more); wants few shapes
    )
    prefetch: int = 0  # batches prepared ahead by threads; `batches` must then leave global state alone

    log_every: int = 10
    checkpoint_every: int = 500
    validate: Callable[[nn.Module, Path], Mapping[str, float]] | None = None
    validate_every: int = 0  # 0: only at the end of the stage
    prepare: Callable[[nn.Module], None] | None = None

    def check(self, world: int) -> None:
        """Refuse settings that cannot run, before anything is written."""
        where = f"stage {self.name!r}"
        if not self.name or not all(letter.isalnum() or letter in "-_" for letter in self.name):
            raise UserError(f"{where}: a stage's name is letters, digits, - and _, since it names a folder")
        for name in ("steps", "batch_size", "accumulation", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{where}: {name}={getattr(self, name)} must be at least 1")
        parts = self.accumulation * world
        if self.batch_size % parts:
            raise UserError(
                f"{where}: batch_size={self.batch_size} cannot be cut into {parts} equal microbatches "
                f"(accumulation={self.accumulation} x {world} processes): choose a multiple of {parts}"
            )
        if not 0.0 <= self.ema_decay < 1.0:
            raise UserError(
                f"{where}: ema_decay={self.ema_decay} must be 0 (off) or lie below 1, such as 0.999"
            )
        if self.schedule == "plateau":
            self._check_plateau(where)
        if self.warmup_steps >= self.steps and self.warmup_steps > 0:
            raise UserError(f"{where}: warmup_steps={self.warmup_steps} must be less than steps={self.steps}")

    def _check_plateau(self, where: str) -> None:
        if not 0.0 < self.plateau_factor < 1.0 or self.plateau_patience < 0 or self.plateau_threshold < 0.0:
            raise UserError(
                f"{where}: plateau_factor={self.plateau_factor} must lie between 0 and 1, "
                f"plateau_patience={self.plateau_patience} and plateau_threshold={self.plateau_threshold} "
                "must not be negative"
            )
        watches_validation = self.plateau_metric is not None and not self.plateau_metric.startswith("train/")
        if watches_validation and (self.validate is None or not self.validate_every):
            raise UserError(
                f"{where}: the plateau watches {self.plateau_metric!r}, which a validation gives: set validate and "
                "validate_every, or plateau_metric=none to watch the training loss"
            )

    def microbatch(self, step: int, turn: int, *, rank: int, world: int, seed: int) -> BatchIndex:
        """Microbatch number turn * world + rank of a step: the same samples and seed whoever computes it."""
        size = self.batch_size // (self.accumulation * world)
        number = turn * world + rank
        start = step * self.batch_size + number * size
        return BatchIndex(
            step=step,
            microbatch=number,
            indices=range(start, start + size),
            rank=rank,
            world=world,
            seed=seed,
            stage=self.name,
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a room's recipe gives to the command line: stages, and how to make the final weight file from them.

    finish(folder) runs after the last stage, with the run's `final/` folder, and returns the file it wrote.
    """

    stages: list[Stage]
    finish: Callable[[Path], Path]
