"""How fast a stage runs, and what is said of it: at its start, after its first steps, and on every line."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from kinema.train.distributed import World
from kinema.train.flops import matmul_ceiling
from kinema.train.log import logger
from kinema.train.precision import Precision
from kinema.train.progress import Progress, duration
from kinema.train.stage import Stage
from kinema.train.state import TrainState


class Speed:
    """Rates of one stage. FLOP/s are given as a share of this machine's own large matrix product."""

    def __init__(self, stage: Stage, state: TrainState, precision: Precision, world: World) -> None:
        self.stage, self.state, self.precision, self.world = stage, state, precision, world
        self.device = precision.device
        self.ceiling = 0.0
        self.measured: list[float] = []  # seconds of the first steps of this process

    def announce(self) -> None:
        stage = self.stage
        total = sum(parameter.numel() for parameter in stage.model.parameters())
        trainable = sum(
            parameter.numel() for parameter in stage.model.parameters() if parameter.requires_grad
        )
        logger.info(
            "stage %s: %s parameters (%s trainable), %d steps of %d samples (%d processes x %d microbatches), %s on %s",
            stage.name, f"{total:,}", f"{trainable:,}", stage.steps, stage.batch_size, self.world.size,
            stage.accumulation, str(self.precision.compute).removeprefix("torch."), self.device.type,
        )  # fmt: skip

    def _flops_per_step(self) -> float:
        return float(self.state.flops) * self.stage.accumulation * self.world.size

    def expect(self, seconds: float) -> None:
        """After this process's third step: what a step is and how long the stage will take."""
        if len(self.measured) >= 3:
            return
        self.measured.append(seconds)
        if len(self.measured) == 3:
            left = (self.stage.steps - self.state.step) * min(self.measured)
            logger.info(
                "stage %s: %.3g FLOPs a step, about %s left",
                self.stage.name,
                self._flops_per_step(),
                duration(left),
            )

    def rates(self, steps: int, elapsed: float, data_seconds: float) -> dict[str, float]:
        """Rates over the window. FLOP/s are given as a share of this machine's own large matrix product."""
        if not self.ceiling:
            self.ceiling = matmul_ceiling(self.device, self.precision.compute)
        record = {
            "train/samples_per_sec": self.stage.batch_size * steps / elapsed,
            "train/flops_utilization": self._flops_per_step()
            * steps
            / elapsed
            / (self.ceiling * self.world.size),
            "time/step": elapsed / steps,
            "time/data": data_seconds / steps,
        }
        if self.device.type == "cuda":
            record["mem/peak_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        else:
            record["mem/peak_gib"] = _peak_memory() / 2**30
        return record

    def line(self, bar: Progress, record: Mapping[str, float]) -> None:
        left = duration((self.stage.steps - self.state.step) * record["time/step"])
        share = f"{record['train/flops_utilization']:.0%} of peak"
        rate = f"{record['train/samples_per_sec']:.3g} samples/s"
        bar.line(
            f"{self.stage.name} {self.state.step}/{self.stage.steps}  loss {record['train/loss']:.4f}  "
            f"norm {record['train/grad_norm']:.3g}  lr {record['train/lr']:.3g}  {rate}  {share}  {left} left",
            f"loss {record['train/loss']:.4f}  {rate}  {share}",
        )


def _peak_memory() -> float:
    """Bytes that this process had resident at most."""
    try:
        import resource
        import sys
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
