"""One optimiser step of a stage: its microbatches, the check that all is finite, clipping, the update, the average."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.train.blocks import WORTH_COMPILING, compile_blocks, uncompile_blocks
from kinema.train.data import to_device
from kinema.train.distributed import Runner, World, full_tensor
from kinema.train.flops import count_flops
from kinema.train.log import logger
from kinema.train.optim import set_learning_rate
from kinema.train.precision import Precision
from kinema.train.schedules import learning_rate_factor
from kinema.train.seeds import derive_seed, make_generator, seed_everything
from kinema.train.signals import StopRequest
from kinema.train.stage import BatchIndex, Stage
from kinema.train.state import TrainState


class NonFiniteLoss(UserError):
    """The loss or the gradient stopped being a number."""


class Stepper:
    """Takes the steps of one stage. Call `close` when the last one is done: it ends the compilation of the blocks."""

    def __init__(
        self,
        stage: Stage,
        state: TrainState,
        runner: Runner,
        precision: Precision,
        world: World,
        seed: int,
        request: StopRequest,
    ) -> None:
        self.stage, self.state, self.runner, self.precision = stage, state, runner, precision
        self.world, self.seed, self.request = world, seed, request
        self.device = precision.device
        self.trainable = [p for p in state.model.parameters() if p.requires_grad]
        self.compiled: list[nn.Module] | None = (
            None  # from the second step on: FLOPs are counted on plain blocks
        )

    def close(self) -> None:
        """Leave the model's blocks as they were."""
        uncompile_blocks(self.compiled or [])

    def step(self, batches: Any) -> tuple[float, float, int]:
        """One optimiser step: (learning rate, seconds spent waiting for data, the signal that came or 0)."""
        stage, state = self.stage, self.state
        factor = learning_rate_factor(
            stage.schedule,
            state.step,
            steps=stage.steps,
            warmup_steps=stage.warmup_steps,
            decay_fraction=stage.decay_fraction,
            floor=stage.lr_floor,
        )
        learning_rate = set_learning_rate(state.optimizers, factor * state.plateau.scale)
        for optimizer in state.optimizers:
            optimizer.zero_grad(set_to_none=True)
        waited = 0.0
        sums: dict[str, Tensor] = {}
        broken: list[BatchIndex] = []
        for turn in range(stage.accumulation):
            began = time.perf_counter()
            index, batch = next(batches)
            batch = to_device(batch, self.device)
            waited += time.perf_counter() - began
            loss, logs = self._microbatch(index, batch, last=turn == stage.accumulation - 1)
            values = {"loss": loss, **logs}
            if sums and values.keys() != sums.keys():
                raise UserError(f"stage {stage.name!r}: the loss must log the same names on every microbatch")
            for name, value in values.items():
                number = torch.as_tensor(value, dtype=torch.float32, device=self.device).detach()
                sums[name] = sums[name] + number if name in sums else number.clone()
            if not bool(torch.isfinite(loss)):
                broken.append(index)
        norm = full_tensor(nn.utils.get_total_norm([p.grad for p in self.trainable if p.grad is not None]))
        names = sorted(sums)
        # The signal travels with the numbers, so that all processes stop after the same step.
        signal = torch.tensor(float(self.request.signum), device=self.device)
        vector = torch.stack([*(sums[name] / stage.accumulation for name in names), signal])
        *numbers, signalled = self.world.mean(vector).tolist()
        means = dict(zip(names, numbers, strict=True))
        means["grad_norm"] = float(norm)
        if not math.isfinite(means["loss"]) or not math.isfinite(means["grad_norm"]):
            self._stop_non_finite(means, broken, learning_rate)
        if stage.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.trainable, stage.clip_norm, norm)
        for optimizer in state.optimizers:
            optimizer.step()
        if state.ema is not None:
            state.ema.update(state.model)
        state.step += 1
        state.run_step += 1
        state.meter.add(means)
        stopping = max(self.world.gather(self.request.signum)) if signalled else 0
        return learning_rate, waited, stopping

    def _microbatch(
        self, index: BatchIndex, batch: Any, last: bool
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        stage, state = self.stage, self.state
        seed_everything(derive_seed(self.seed, stage.name, "model", index.step, index.microbatch))
        generator = make_generator(
            self.seed, stage.name, "loss", index.step, index.microbatch, device=self.device
        )

        def forward_backward() -> tuple[Tensor, Mapping[str, Tensor | float]]:
            with self.runner.accumulating(last):
                with self.precision.autocast():
                    loss, logs = self.runner.run(stage.loss, batch, generator)
                (loss.float() / stage.accumulation).backward()
            return loss.detach().float(), logs

        if state.flops:
            if stage.compile and stage.steps >= WORTH_COMPILING and self.compiled is None:
                self.compiled = compile_blocks(state.model)
            return forward_backward()
        with count_flops() as counted:  # once a run: the count is part of the state
            result = forward_backward()
        state.flops = max(counted.total, 1)
        return result

    def _stop_non_finite(
        self, means: Mapping[str, float], broken: list[BatchIndex], learning_rate: float
    ) -> None:
        ranges = [index.indices for group in self.world.gather(broken) for index in group]
        what = "loss" if not math.isfinite(means["loss"]) else "gradient norm"
        value = means["loss"] if what == "loss" else means["grad_norm"]
        start = self.state.step * self.stage.batch_size
        ranges = ranges or [range(start, start + self.stage.batch_size)]
        samples = ", ".join(f"{part.start}-{part.stop - 1}" for part in ranges)
        message = (
            f"the {what} is {value} in stage {self.stage.name!r} at step {self.state.step} (samples {samples}, "
            f"learning rate {learning_rate:.3g}): look at these samples, or lower lr, or set clip_norm; "
            "the checkpoints before it are kept"
        )
        logger.error(message)
        raise NonFiniteLoss(message)
