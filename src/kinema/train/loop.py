"""The one training loop: stages in order, each from wherever the run folder says it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.train.blocks import WORTH_COMPILING, compiled_blocks
from kinema.train.checkpoint import (
    newest_first,
    point_latest,
    read_folder,
    retain,
    step_folders,
    write_folder,
)
from kinema.train.data import microbatches, to_device
from kinema.train.distributed import Parallel, Runner, World, bind_local_device, full_tensor, join_world
from kinema.train.ema import EMA
from kinema.train.final import StageReport, finished_stage, read_final, stage_metrics, write_final
from kinema.train.flops import count_flops, matmul_ceiling
from kinema.train.folder import RunFolder, run_log, writing
from kinema.train.log import logger
from kinema.train.metrics import Metrics
from kinema.train.optim import build_optimizers, set_learning_rate
from kinema.train.precision import Precision, PrecisionName, choose_device
from kinema.train.progress import Progress, duration
from kinema.train.schedules import Plateau, learning_rate_factor
from kinema.train.seeds import derive_seed, make_generator, seed_everything
from kinema.train.signals import Preempted, StopRequest, stop_on_signals
from kinema.train.stage import BatchIndex, Stage
from kinema.train.state import TrainState, load_weights


class NonFiniteLoss(UserError):
    """The loss or the gradient stopped being a number."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did: the folder, and for every stage its steps, last metrics and weights."""

    out: Path
    stages: tuple[StageReport, ...]

    def __getitem__(self, name: str) -> StageReport:
        return next(stage for stage in self.stages if stage.name == name)


def run_stages(
    stages: Sequence[Stage],
    out: Path | str,
    *,
    resume: str = "auto",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    parallel: Parallel = "ddp",
    keep_last: int = 2,
    progress: bool | None = None,
) -> RunReport:
    """Train the stages in order in the run folder `out`, continuing what is there (resume="never" refuses to).

    settings: anything that describes the run; written to config.toml, with the stages' own, before step 0.
    parallel: under torchrun, `ddp` copies the model to each process, `fsdp` shards it. keep_last: checkpoints kept.
    A stage with an EMA leaves the averaged weights in its model. Raises UserError for what a user can cause,
    NonFiniteLoss when the loss is no number, and Preempted (a SystemExit) after a signal, once the state is saved.
    """
    bind_local_device()
    place = choose_device(device)
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise UserError(f"two stages have the same name among {names}: every stage needs its own")
    if keep_last < 1:
        raise UserError(f"keep_last={keep_last} must be at least 1")
    folder = RunFolder(Path(out))
    world = join_world(place)
    with stop_on_signals() as request:
        for stage in stages:
            stage.check(world.size)
        with writing(folder.out):
            changed = world.main_first(lambda: folder.begin(settings or {}, stages, resume))
        with run_log(folder.out if world.is_main else None):
            if changed:
                logger.warning("settings differ from those the run began with: %s", "; ".join(changed))
            run = _Run(folder, world, place, seed, precision, parallel, keep_last, progress, request)
            for stage in stages:
                run.train(stage)
            reports = world.main_first(lambda: [stage_metrics(folder, stage.name) for stage in stages])
            return RunReport(out=folder.out, stages=tuple(world.from_main(reports)))


class _Run:
    """What all stages of one run share."""

    def __init__(
        self,
        folder: RunFolder,
        world: World,
        device: torch.device,
        seed: int,
        precision: PrecisionName,
        parallel: Parallel,
        keep_last: int,
        progress: bool | None,
        request: StopRequest,
    ) -> None:
        self.folder, self.world, self.device, self.seed = folder, world, device, seed
        self.precision_name, self.parallel, self.keep_last = precision, parallel, keep_last
        self.progress, self.request = progress, request
        self.run_step = 0
        self.position = 0  # bytes of metrics.jsonl that belong to the finished stages

    def train(self, stage: Stage) -> None:
        """One stage: skipped when finished, continued when begun, else from step 0."""
        seed_everything(derive_seed(self.seed, stage.name, "start"))
        if stage.prepare is not None:
            stage.prepare(stage.model)
        found = self.world.main_first(lambda: finished_stage(self.folder, stage.name))
        finished = self.world.from_main(found)
        if finished is not None and finished["step"] >= stage.steps:
            load_weights(stage.model, read_final(self.folder, stage.name), f"final/{stage.name}")
            stage.model.to(self.device)
            self.run_step, self.position = finished["run_step"], finished["metrics_bytes"]
            logger.info("stage %s: finished before, %d steps", stage.name, finished["step"])
            return
        _StageRun(self, stage).train()


class _StageRun:
    """One stage being trained."""

    def __init__(self, run: _Run, stage: Stage) -> None:
        self.run, self.stage, self.world, self.folder = run, stage, run.world, run.folder
        self.precision = Precision.choose(stage.precision or run.precision_name, run.device)
        self.runner = Runner(stage.model, run.world, run.parallel, run.device, self.precision.compute)
        model = self.runner.model
        optimizers = build_optimizers(
            model,
            optimizer=stage.optimizer,
            lr=stage.lr,
            muon_lr=stage.muon_lr,
            betas=stage.betas,
            eps=stage.eps,
            weight_decay=stage.weight_decay,
            lr_scales=stage.lr_scales,
            fused=not self.runner.sharded and run.device.type in ("cpu", "cuda"),
        )
        self.trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.state = TrainState(
            stage=stage.name,
            model=model,
            optimizers=optimizers,
            ema=EMA(model, stage.ema_decay) if stage.ema_decay else None,
            plateau=Plateau(factor=stage.plateau_factor, patience=stage.plateau_patience),
            run_step=run.run_step,
        )
        self.compiling = False
        self.compiled = ExitStack()  # entered after the first step, whose FLOPs are counted on plain blocks
        self.ceiling = 0.0
        self.measured: list[float] = []  # seconds of the first steps of this process

    # ---- resume ---------------------------------------------------------------------------------------------

    def _resume(self) -> int:
        """Read the newest whole checkpoint of this stage, if any; returns the length of metrics.jsonl to keep."""
        found = self.world.from_main(self.world.main_first(self._newest))
        if found is None:
            return self.run.position
        tensors, scalars = read_folder(self.folder.checkpoints / found)
        self.state.load(tensors, scalars, f"checkpoint {found}")
        logger.info("stage %s: continuing from step %d", self.stage.name, self.state.step)
        return int(scalars["metrics_bytes"])

    def _newest(self) -> str | None:
        for path in newest_first(self.folder.checkpoints):
            state = json.loads((path / "train_state.json").read_text(encoding="utf-8"))
            if state["stage"] == self.stage.name:
                return path.name
            if state["run_step"] > self.state.run_step:
                raise UserError(
                    f"the run has gone on to stage {state['stage']!r}, and stage {self.stage.name!r} is asked for "
                    f"{self.stage.steps} steps, more than it was finished with: start a new run folder"
                )
            return None
        return None

    # ---- the loop -------------------------------------------------------------------------------------------

    def train(self) -> None:
        """All steps that are left, then the final weights."""
        stage, state, run = self.stage, self.state, self.run
        position = self._resume()
        metrics: Metrics | None = None
        if self.world.is_main:
            with writing(self.folder.out):
                metrics = Metrics(self.folder.metrics, position, self.folder.out / "tb", state.run_step)
        self._announce()
        batches = microbatches(stage, state.step, rank=self.world.rank, world=self.world.size, seed=run.seed)
        visible = self.world.is_main and (_stderr_is_terminal() if run.progress is None else run.progress)
        try:
            with Progress(stage.name, stage.steps, state.step, visible) as bar:
                state.model.train()
                window_start, data_seconds = time.perf_counter(), 0.0
                while state.step < stage.steps:
                    began = time.perf_counter()
                    learning_rate, waited, stopping = self._step(batches)
                    data_seconds += waited
                    self._expect(time.perf_counter() - began)
                    bar.advance(state.step)
                    last = state.step == stage.steps
                    record: dict[str, Any] = {}
                    if state.step % stage.log_every == 0 or last:
                        steps = state.meter.count
                        elapsed = max(time.perf_counter() - window_start, 1e-9)
                        record = {f"train/{name}": value for name, value in state.meter.flush().items()}
                        record |= self._speed(steps, elapsed, data_seconds) | {"train/lr": learning_rate}
                        self._line(bar, record)
                        window_start, data_seconds = time.perf_counter(), 0.0
                    if stage.validate and (
                        last or (stage.validate_every and state.step % stage.validate_every == 0)
                    ):
                        record |= self._validate()
                    self._watch_plateau(record)
                    if record and metrics is not None:
                        head = {"step": state.run_step, "stage": stage.name, "stage_step": state.step}
                        with writing(self.folder.out):
                            metrics.write(head | record)
                    if stopping or last or state.step % stage.checkpoint_every == 0:
                        self._checkpoint(metrics)
                    if stopping and not last:
                        logger.info(
                            "stopped by a signal at step %d; run the same command to continue", state.run_step
                        )
                        raise Preempted(stopping, state.run_step)
            self.compiled.close()
            self._finish(metrics)
        finally:
            self.compiled.close()
            batches.close()  # type: ignore[attr-defined]
            if metrics is not None:
                metrics.close()

    def _step(self, batches: Any) -> tuple[float, float, int]:
        """One optimiser step: (learning rate, seconds spent waiting for data, the signal that came or 0)."""
        stage, state, run = self.stage, self.state, self.run
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
            batch = to_device(batch, run.device)
            waited += time.perf_counter() - began
            loss, logs = self._microbatch(index, batch, last=turn == stage.accumulation - 1)
            values = {"loss": loss, **logs}
            if sums and values.keys() != sums.keys():
                raise UserError(f"stage {stage.name!r}: the loss must log the same names on every microbatch")
            for name, value in values.items():
                number = torch.as_tensor(value, dtype=torch.float32, device=run.device).detach()
                sums[name] = sums[name] + number if name in sums else number.clone()
            if not bool(torch.isfinite(loss)):
                broken.append(index)
        norm = full_tensor(nn.utils.get_total_norm([p.grad for p in self.trainable if p.grad is not None]))
        names = sorted(sums)
        # The signal travels with the numbers, so that all processes stop after the same step.
        signal = torch.tensor(float(run.request.signum), device=run.device)
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
        stopping = max(self.world.gather(run.request.signum)) if signalled else 0
        return learning_rate, waited, stopping

    def _microbatch(
        self, index: BatchIndex, batch: Any, last: bool
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        stage, run, state = self.stage, self.run, self.state
        seed_everything(derive_seed(run.seed, stage.name, "model", index.step, index.microbatch))
        generator = make_generator(
            run.seed, stage.name, "loss", index.step, index.microbatch, device=run.device
        )

        def forward_backward() -> tuple[Tensor, Mapping[str, Tensor | float]]:
            with self.runner.accumulating(last):
                with self.precision.autocast():
                    loss, logs = self.runner.run(stage.loss, batch, generator)
                (loss.float() / stage.accumulation).backward()
            return loss.detach().float(), logs

        if state.flops:
            if stage.compile and stage.steps >= WORTH_COMPILING and not self.compiling:
                self.compiling = self.compiled.enter_context(compiled_blocks(state.model))
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

    # ---- validation and schedule ----------------------------------------------------------------------------

    def _validate(self) -> dict[str, float]:
        """The stage's own measurements on the averaged weights; training's random sources are not touched by it."""
        stage, state = self.stage, self.state
        assert stage.validate is not None
        folder = self.folder.samples(state.run_step)
        with writing(self.folder.out):
            self.world.main_first(lambda: folder.mkdir(parents=True, exist_ok=True))
        seed_everything(derive_seed(self.run.seed, stage.name, "validate"))
        state.model.eval()
        average = state.ema.applied_to(state.model) if state.ema is not None else None
        with torch.no_grad(), self.precision.autocast():
            if average is None:
                result = self.runner.evaluate(stage.validate, folder)
            else:
                with average:
                    result = self.runner.evaluate(stage.validate, folder)
        state.model.train()
        if self.world.is_main and not any(folder.iterdir()):
            folder.rmdir()
        values = {name if "/" in name else f"val/{name}": float(value) for name, value in result.items()}
        values = self.world.from_main(values)
        logger.info(
            "step %d  %s", state.run_step, "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        )
        return values

    def _watch_plateau(self, record: Mapping[str, float]) -> None:
        stage = self.stage
        if stage.schedule != "plateau" or not record:
            return
        name = stage.plateau_metric or "train/loss"
        name = name if "/" in name else f"val/{name}"
        if name in record and self.state.plateau.observe(record[name]):
            logger.info(
                "step %d: %s has stopped improving, learning rate x %.3g",
                self.state.run_step,
                name,
                self.state.plateau.scale,
            )

    # ---- files ----------------------------------------------------------------------------------------------

    def _checkpoint(self, metrics: Metrics | None) -> None:
        """Gather on all processes, write on the main one."""
        state, checkpoints = self.state, self.folder.checkpoints
        tensors = state.gather()

        def write() -> None:
            assert metrics is not None
            folder = checkpoints / f"step_{state.run_step:09d}"
            documents = {
                "train_state.json": json.dumps(state.scalars() | {"metrics_bytes": metrics.position()})
                + "\n",
                "config.json": self.folder.model_config(state.model),
            }
            if folder not in step_folders(checkpoints):
                write_folder(folder, tensors, documents)
            point_latest(checkpoints, folder)
            retain(checkpoints, self.run.keep_last)

        with writing(
            self.folder.out,
            f"training is safe up to the newest folder in checkpoints/ (step {state.run_step})",
        ):
            self.world.main_first(write)

    def _finish(self, metrics: Metrics | None) -> None:
        """Leave the final weights in the model, and in final/<stage>."""
        state, run = self.state, self.run
        if state.ema is not None:
            state.ema.copy_to(state.model)
        weights = state.gather()["model"]
        self.runner.restore_original()
        self.stage.model.to(run.device)
        state.model.zero_grad(set_to_none=True)

        def write() -> int:
            assert metrics is not None
            position = metrics.position()
            # A run killed right after its last checkpoint comes here with the old ones still in place.
            point_latest(self.folder.checkpoints, step_folders(self.folder.checkpoints)[-1])
            retain(self.folder.checkpoints, run.keep_last)
            write_final(self.folder, state, weights, position)
            return position

        with writing(self.folder.out):
            run.position = self.world.from_main(self.world.main_first(write))
        run.run_step = state.run_step

    # ---- what is printed ------------------------------------------------------------------------------------

    def _announce(self) -> None:
        stage = self.stage
        total = sum(parameter.numel() for parameter in stage.model.parameters())
        trainable = sum(
            parameter.numel() for parameter in stage.model.parameters() if parameter.requires_grad
        )
        logger.info(
            "stage %s: %s parameters (%s trainable), %d steps of %d samples (%d processes x %d microbatches), %s on %s",
            stage.name, f"{total:,}", f"{trainable:,}", stage.steps, stage.batch_size, self.world.size,
            stage.accumulation, str(self.precision.compute).removeprefix("torch."), self.run.device.type,
        )  # fmt: skip

    def _flops_per_step(self) -> float:
        return float(self.state.flops) * self.stage.accumulation * self.world.size

    def _expect(self, seconds: float) -> None:
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

    def _speed(self, steps: int, elapsed: float, data_seconds: float) -> dict[str, float]:
        """Rates over the window. FLOP/s are given as a share of this machine's own large matrix product."""
        if not self.ceiling:
            self.ceiling = matmul_ceiling(self.run.device, self.precision.compute)
        record = {
            "train/samples_per_sec": self.stage.batch_size * steps / elapsed,
            "train/flops_utilization": self._flops_per_step()
            * steps
            / elapsed
            / (self.ceiling * self.world.size),
            "time/step": elapsed / steps,
            "time/data": data_seconds / steps,
        }
        if self.run.device.type == "cuda":
            record["mem/peak_gib"] = torch.cuda.max_memory_allocated(self.run.device) / 2**30
        else:
            record["mem/peak_gib"] = _peak_memory() / 2**30
        return record

    def _line(self, bar: Progress, record: Mapping[str, float]) -> None:
        left = duration((self.stage.steps - self.state.step) * record["time/step"])
        share = f"{record['train/flops_utilization']:.0%} of peak"
        rate = f"{record['train/samples_per_sec']:.3g} samples/s"
        bar.line(
            f"{self.stage.name} {self.state.step}/{self.stage.steps}  loss {record['train/loss']:.4f}  "
            f"norm {record['train/grad_norm']:.3g}  lr {record['train/lr']:.3g}  {rate}  {share}  {left} left",
            f"loss {record['train/loss']:.4f}  {rate}  {share}",
        )


def _stderr_is_terminal() -> bool:
    import sys

    return sys.stderr.isatty()


def _peak_memory() -> float:
    """Bytes that this process had resident at most."""
    try:
        import resource
        import sys
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
